"""Sentences from a template grammar: meeting talk, questions, numbers, names, small talk.

The grammar recombines freely (more than 10^9 sentences), so a test sentence cannot have been memorised; in addition a
sentence whose hash falls in the held-out twentieth is never handed out for training.
"""

import hashlib
import json
import os
import random
import re

from vocabulary import (ADJECTIVES, ADVERBS, DAYS, MASS, MONTHS, MOVES, NAMES, OBJECTS, ONES, ORDINALS, PEOPLE, PLACES,
                        TEENS, TENS, VERBS, plural)

HELD_OUT_IN = 20  # one sentence in twenty is kept for the tests

GRAMMAR = {
    "S": ["{statement}."] * 9 + ["{question}?"] * 4 + ["{opening}, {lower_statement}."] * 3 + ["{social}"] * 2
         + ["{statement}, {conj} {lower_statement}."] * 2 + ["{request}."] * 3 + ["{numeric}."] * 3 + ["{meeting}"] * 6 + ["{salad}."],
    "statement": [
        "{SUBJ_S} {adv_s} {v_s} {np}", "{SUBJ_P} {v_b} {np}", "{SUBJ_S} {v_d} {np} {when}", "{SUBJ_P} {v_d} {np}",
        "{SUBJ_S} {m_d} {where}", "{SUBJ_P} {m_b} {where}", "{SUBJ_S} {modal} {v_b} {np} {when}",
        "{SUBJ_P} {modal} {v_b} {np}", "{SUBJ_S} is {v_g} {np}", "{SUBJ_P} are {m_g} {where} {when}",
        "{NP} is {degree} {adj}", "{NP_P} are {adj} and {adj}", "{NP} was {adj} {when}", "I think {np} is {degree} {adj}",
        "There is {a_np} {where}", "There are {count} {nouns} {where}", "I {modal} {v_b} {np} with {whom}",
        "{SUBJ_S} wants to {v_b} {np}", "We have to {v_b} {np} before {time}", "I don't {v_b} {np}",
        "{SUBJ_S} doesn't {v_b} {np}", "We didn't {v_b} {np} {when}", "It's {degree} {adj}", "That's {a_np}",
        "I've {adv} {v_p} {np}", "They're {v_g} {np} {when}", "I'm {adj} because {np} is {adj}", "{NP} isn't {adj} enough",
        "{Name} said that {np} was {adj}", "{Name} and {name} {v_d} {np}", "You can't {v_b} {np} without {np}",
        "We'll {v_b} {np} {when}", "I'll {v_b} {np} after {np}", "{SUBJ_S} gave {name} {np}",
        "My {person_n} is from {place}", "{Name} lives in {place} with {poss} {person_n}", "If {np} is {adj}, we can {v_b} it",
        "Most of {np_p} are {adj}", "Some {nouns} are {adj}", "Nobody {v_s} {np}", "Everyone {v_d} {np}",
        "{NP} {where} is {adj}", "{poss_cap} {noun} has {count} {nouns}", "We need more {mass}", "There isn't any {mass} {where}",
        "{SUBJ_S} used to {v_b} {np}", "It was {a_np} for {whom}", "The {ord} {noun} is {adj}", "I {m_d} {where} {when}",
        "You should {v_b} {np} {when}", "{adv_cap} {person} {v_d} {np}",
        "{SUBJ_S} {v_d} it {when}", "We can {v_b} them {when}", "I hope {np} will be {adj}", "This is {a_np}",
        "They were {degree} {adj} {when}", "{NP_P} were {adj}", "We were {m_g} {where}", "{SUBJ_S} was {v_g} {np}",
        "It {v_s} {np}", "We are {adj}", "He told me about {np}", "You and I {v_d} {np}",
    ],
    "question": [
        "What do you think about {np}", "Where is {np}", "When will {person} {v_b} {np}", "Who {v_d} {np}",
        "Why did {person} {v_b} {np}", "How many {nouns} do you {v_b}", "How much is {np}", "Can you {v_b} {np} {when}",
        "Could {person} {v_b} {np}", "Did you {v_b} {np}", "Do you {v_b} {np}", "Does {person} {v_b} {np}",
        "Is {np} {adj}", "Are {np_p} {adj}", "Are you {v_g} {np}", "Would you like {a_np}", "Should we {v_b} {np} {when}",
        "Have you {v_p} {np}", "Which {noun} is {adj}", "What time is {np}", "Will {person} be {where} {when}",
        "Isn't it {adj}", "Whose {noun} is this", "Did {person} {m_b} {where}", "Is there any {mass} {where}",
        "How was {np} {when}", "What happened to {np}", "Can I {v_b} {np}", "Was {person} {adj} {when}", "Were you {where} {when}",
        "Were {np_p} {adj}",
    ],
    "request": [
        "Please {v_b} {np}", "Please {v_b} {np} {when}", "Let's {v_b} {np}", "Let's {v_b} {np} {when}", "{V_B} {np}, please",
        "Don't {v_b} {np}", "Tell {whom} about {np}", "Give me {np}", "Let me {v_b} {np}", "{Name}, please {v_b} {np}",
        "Make sure that {np} is {adj}", "Help {whom} with {np}", "Try to {v_b} {np}",
    ],
    "meeting": [
        "Good morning, everyone, and thank you for coming.", "Let's start with the {noun}.", "Who wants to {v_b} the {noun}?",
        "The next point is the {noun}.", "I will send you the {noun} {when}.", "Can everyone see my screen?",
        "How is the {noun} going, {name}?", "The {noun} is almost ready.", "We are still waiting for {np}.",
        "I need {count} more days.", "Is there anything else?", "That's all for today.", "Let's meet again {when}.",
        "What about the {noun}, {name}?", "I agree with you, {name}, but {lower_statement}.", "Can you hear me now?",
        "I have a question about {np}.", "We should talk about {np} {when}.", "{name}, what do you think?",
        "It will take about {count} weeks.", "The customer is {adj} with {np}.", "I don't know yet.", "Good idea, {name}.",
        "Thanks, {name}, that was very {adj}.", "Sorry, I was late because of the {noun}.", "I finished {np} {when}.",
        "Who is going to {v_b} {np}?", "The new version is {adj} and {adj}.", "Nothing has changed since {day}.",
        "We have {count} minutes left.", "Could you repeat that, please?", "Let me explain {np}.", "I can do that {when}.",
        "Okay, let's {v_b} {np} first.", "My part is done.", "Then {person} will {v_b} {np}.", "See you {when}, everyone.",
    ],
    "social": [
        "Good morning, {name}.", "Hello, {name}, how are you?", "Thank you very much, {name}.", "See you on {day}.",
        "Nice to meet you, {name}.", "Good evening, everyone.", "I'm sorry, {name}.", "Goodbye, {name}.", "Yes, of course.",
        "No, thank you.", "That sounds {adj}.", "I agree with {name}.", "You're welcome, {name}.", "Have a {adj} {noun}.",
        "Happy birthday, {name}!", "What a {adj} {noun}!", "My name is {name}.", "How is your {person_n}?",
        "Good night, {name}, and thank you.", "Welcome to {place}.", "Are you from {place}, {name}?",
    ],
    "numeric": [
        "The number is {digits}", "It costs {number} dollars", "We have {number} {nouns}", "The meeting is at {time} on {day}",
        "{Name} is {number} years old", "Page {number} is {adj}", "It was the {ord} of {month}", "About {number} people {v_d} {np}",
        "The train leaves at {time}", "Room {number} is {adj}", "{number_cap} and {number} is {number}",
        "My phone number is {digits}", "Only {number} percent of {np_p} are {adj}", "It takes {count} hours to {v_b} {np}",
        "{number_cap} {nouns}, {number} {nouns} and {number} {nouns}", "See you at {time}, {name}",
        "We sold {number} {nouns} in {month}", "The date is {month} {ord}",
    ],
    "opening": ["Well", "So", "Okay", "Yes", "No", "Right", "Actually", "Maybe", "Of course", "Sorry", "By the way",
                "In fact", "For example", "First of all", "Yesterday", "Today", "Last week", "On {day}", "In {month}", "{Name}"],
    "conj": ["but", "and", "so", "because", "while", "or"],
    "modal": ["can", "could", "will", "would", "should", "must", "might"],
    "degree": ["very", "so", "too", "quite", "really", "not", "still", "always", "never", "much too"],
    "det": ["the"] * 5 + ["this", "that", "my", "your", "his", "her", "our", "their", "every", "another", "{name}'s"],
    "det_p": ["the"] * 4 + ["these", "those", "my", "your", "our", "their", "some", "all", "both", "many", "a few", "{count}"],
    "poss": ["my", "your", "his", "her", "our", "their"],
    "np": ["{det} {noun}"] * 4 + ["{det} {adj} {noun}"] * 4 + ["{np_p}"] * 2 + ["{det} {noun} {prep} {det} {noun}", "{a_np}",
           "the {mass}"],
    "np_p": ["{det_p} {nouns}", "{det_p} {adj} {nouns}"],
    "person": ["{name}"] * 4 + ["{poss} {person_n}", "the {person_n}", "the {adj} {person_n}", "he", "she"],
    "whom": ["{name}"] * 4 + ["{poss} {person_n}", "the {person_n}", "the {adj} {person_n}", "him", "her", "them"],
    "prep": ["in", "on", "under", "near", "behind", "with", "without", "for", "from", "of", "between", "over", "next to"],
    "where": ["in {place}", "at the {noun}", "near the {noun}", "in the {adj} {noun}", "behind the {noun}", "to the {noun}",
              "with {name}", "here", "there", "at home", "outside", "across the street", "on the {ord} floor", "downstairs"],
    "when": ["today", "tomorrow", "yesterday", "on {day}", "in {month}", "at {time}", "this week", "last week", "next year",
             "in the morning", "in the afternoon", "tonight", "right now", "every day", "again", "for {count} days", "next {day}",
             "before dinner", "after lunch", "soon", "later"],
    "adv_s": ["always", "never", "often", "usually", "really", "sometimes", "probably", "already", "still", "also", "only"],
    "subj_s": ["{name}"] * 4 + ["he", "she", "{poss} {person_n}", "the {person_n}", "the {adj} {person_n}", "someone"],
    "subj_p": ["we"] * 2 + ["they"] * 2 + ["I"] * 2 + ["you", "{name} and {name}", "the {persons}", "{poss} {persons}", "people"],
}


def _number(rng):
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(ONES)
    if kind < 0.5:
        return rng.choice(TEENS)
    two = rng.choice(TENS) + (f"-{rng.choice(ONES)}" if rng.random() < 0.7 else "")
    if kind < 0.8:
        return two
    hundreds = f"{rng.choice(ONES)} hundred" + (f" and {two}" if rng.random() < 0.6 else "")
    return hundreds if kind < 0.95 else f"{rng.choice(ONES + TEENS)} thousand"


def _time(rng):
    hour = rng.choice(ONES + TEENS[:3])
    return rng.choice([hour, f"{hour} o'clock", f"half past {hour}", f"{hour} {rng.choice(TENS[:4])}", f"a quarter to {hour}",
                       "noon", "midnight"])


def _salad(rng):
    """Words in no order: keeps the decoder from trusting its language model more than its ears."""
    words = [rng.choice(rng.choice(SALAD)) for _ in range(rng.randint(2, 7))]
    return rng.choice([" ", ", "]).join(words)


SALAD = [OBJECTS, [plural(n) for n in OBJECTS], ADJECTIVES, ADVERBS, NAMES, PLACES, ONES + TEENS + TENS, DAYS + MONTHS, PEOPLE,
         [v[i].split()[0] for v in VERBS + MOVES for i in range(4)], MASS,
         "because although until since enough anything something".split()]

_PARTICIPLE = {"forgot": "forgotten", "saw": "seen", "showed": "shown", "wrote": "written"}


def _leaf(name, rng):
    """Expansion of a symbol that is drawn from a word list; None for a grammar rule."""
    verb = rng.choice(VERBS)
    draws = {
        "name": lambda: rng.choice(NAMES), "place": lambda: rng.choice(PLACES), "day": lambda: rng.choice(DAYS),
        "month": lambda: rng.choice(MONTHS), "noun": lambda: rng.choice(OBJECTS), "mass": lambda: rng.choice(MASS),
        "nouns": lambda: plural(rng.choice(OBJECTS)), "person_n": lambda: rng.choice(PEOPLE),
        "persons": lambda: plural(rng.choice(PEOPLE)), "adj": lambda: rng.choice(ADJECTIVES),
        "adv": lambda: rng.choice(["already", "just", "never", "always", "finally"]),
        "ord": lambda: rng.choice(ORDINALS), "count": lambda: rng.choice(ONES[1:] + TEENS), "number": lambda: _number(rng),
        "digits": lambda: " ".join(rng.choice(ONES + ["zero"]) for _ in range(rng.randint(4, 7))), "time": lambda: _time(rng),
        "salad": lambda: _salad(rng), "any_adv": lambda: rng.choice(ADVERBS),
        "v_b": lambda: verb[0], "v_s": lambda: verb[1], "v_d": lambda: verb[2], "v_g": lambda: verb[3],
        "v_p": lambda: _PARTICIPLE.get(verb[2], verb[2]),
        "m_b": lambda: rng.choice(MOVES)[0], "m_d": lambda: rng.choice(MOVES)[2], "m_g": lambda: rng.choice(MOVES)[3],
    }
    return draws[name]() if name in draws else None


def _article(noun_phrase):
    return ("an " if noun_phrase[0] in "aeiou" and not noun_phrase.startswith("uni") or noun_phrase.startswith("hour")
            else "a ") + noun_phrase


_ALIAS = {"SUBJ_S": "subj_s", "SUBJ_P": "subj_p", "NP": "np", "NP_P": "np_p", "Name": "name", "V_B": "v_b",
          "number_cap": "number", "poss_cap": "poss", "adv_cap": "any_adv", "lower_statement": "statement"}


def _expand(symbol, rng):
    if symbol == "a_np":
        return _article(rng.choice(["{noun}", "{adj} {noun}"]).replace("{adj}", rng.choice(ADJECTIVES)).replace(
            "{noun}", rng.choice(OBJECTS)))
    inner = _ALIAS.get(symbol, symbol)
    text = _leaf(inner, rng)
    if text is None:
        text = re.sub(r"{(\w+)}", lambda m: _expand(m[1], rng), rng.choice(GRAMMAR[inner]))
    if symbol == "lower_statement" and text.split()[0].split("'")[0] not in PROPER:
        text = text[0].lower() + text[1:]
    elif symbol != inner and symbol != "lower_statement":
        text = text[0].upper() + text[1:]
    return text


PROPER = set(NAMES + PLACES + DAYS + MONTHS) | {"I"}


def sentence(rng, held_out=False):
    """One capitalised, punctuated sentence of the training part, or of the held-out part."""
    while True:
        text = _expand("S", rng)
        text = text[0].upper() + text[1:]
        if is_held_out(text) == held_out and len(text.split()) <= 18:
            return text


def words_of(text):
    """Lower-case words without punctuation: what the word error rate is counted on."""
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())


def is_held_out(text):
    """Whether the sentence (compared without case and punctuation) belongs to the held-out twentieth."""
    key = " ".join(words_of(text))
    return key in _SCRIPTED or hashlib.sha1(key.encode()).digest()[0] * HELD_OUT_IN < 256


def _scripted():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample_script.json")) as file:
        turns = json.load(file)["turns"]
    return {" ".join(words_of(s)) for turn in turns for s in re.split(r"(?<=[.?!]) ", turn["text"])}


_SCRIPTED = _scripted()  # the sample conversation is held out as well


if __name__ == "__main__":
    rng = random.Random(0)
    for _ in range(60):
        print(sentence(rng))
    drawn = [sentence(rng) for _ in range(40000)]
    print(len(set(drawn)) / len(drawn), len({w for s in drawn for w in words_of(s)}),
          sum(len(words_of(s)) for s in drawn) / len(drawn))
