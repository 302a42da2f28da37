"""festival's Roger (festvox-rablpc16k), a British man, without the dictionary he was made for.

That dictionary is not free for all uses. His words are taken from the American one (festvox's CMU lexicon) and turned into the
sounds of his own accent by rules; the corpus has few enough words for that.
"""

import random
import re
import subprocess

import sentences

VOICE = "rab_diphone"
_FILES = "/usr/share/festival/voices/english/rab_diphone/"
_SAME = "p t k b d g s z sh zh f v th dh ch jh m n ng l y r w".split()
_PHONES = {**{phone: phone for phone in _SAME}, "hh": "h", "aa": "o", "ae": "a", "ah": "uh", "ao": "oo", "aw": "au", "ax": "@",
           "ay": "ai", "eh": "e", "er": "@@", "ey": "ei", "ih": "i", "iy": "ii", "ow": "ou", "oy": "oi", "uh": "u", "uw": "uu"}
_BEFORE_R = {"aa": "aa", "ao": "oo", "ih": "i@", "iy": "i@", "eh": "e@", "uh": "u@", "uw": "u@", "ax": "@", "er": "@@"}
AMERICAN = {**{british: american for american, british in _PHONES.items()}, "aa": "aa", "i@": "ih", "e@": "eh", "u@": "uh"}
_LONG_A = {"father", "after", "afternoon", "can't", "last"}


def british(word, syllables):
    """[(phones, stress)] in his phone set of [(phones, stress)] in the American one; no r but before a vowel."""
    flat = [phone for phones, _ in syllables for phone in phones] + ["#"]
    at, out = 0, []
    for phones, stress in syllables:
        said = []
        for phone in phones:
            after, ahead = flat[at + 1], flat[at + 2] if at + 2 < len(flat) else "#"
            final_r = after == "r" and ahead not in _PHONES.keys() - set(_SAME) - {"hh"}
            at += 1
            if phone == "r" and flat[at] in (*_SAME, "hh", "#"):
                continue
            if phone == "er":
                said += ["@@" if stress else "@"] + (["r"] if after not in (*_SAME, "hh", "#") else [])
            elif phone in ("aa", "ae") and word in _LONG_A:
                said.append("aa")
            else:
                said.append(_BEFORE_R.get(phone, _PHONES[phone]) if final_r else _PHONES[phone])
        out.append((said, stress))
    return out


def words():
    """The words of the sentences; one that is missed fails the few sentences that have it."""
    rng = random.Random(0)
    found = {word for _ in range(30000) for word in sentences.words_of(sentences.sentence(rng))}
    return sorted(found | {word.split("'")[0] for word in found} | {"'s"})


def prologue(folder):
    """A Scheme file that makes `voice_rab_diphone` known to festival."""
    listing, known = f"{folder}/words.scm", words()
    with open(listing, "w") as file:
        file.write("(voice_kal_diphone)\n" + "\n".join(f'(format t "%l\\n" (lex.lookup "{word}" nil))' for word in known))
    found = subprocess.run(["festival", "-b", listing], capture_output=True, text=True, check=True).stdout
    entries = []
    for line in found.splitlines():
        word = line.lstrip('("').split('"')[0].split(" ")[0].lower()
        syllables = [(phones.split(), int(stress)) for phones, stress in re.findall(r"\(\(([a-z ]+)\) (\d)\)", line)]
        said = " ".join(f"(({' '.join(phones)}) {stress})" for phones, stress in british(word, syllables))
        if said:  # no word with a genitive has any: festival takes that off itself
            entries.append(f"(lex.add.entry '(\"{word}\" nil ({said})))")
    path = f"{folder}/roger.scm"
    with open(path, "w") as file:
        file.write("(require 'mrpa_phones)\n(define (setup_oald_lex) (lex.create \"oald\") (lex.set.phoneset \"mrpa\")\n"
                   "(lex.set.lts.method 'none) (lex.set.pos.map english_pos_map_wp39_to_wp20)\n"
                   + "\n".join(entries) + f")\n(set! voice-locations (cons (cons 'rab_diphone \"{_FILES}\") voice-locations))\n"
                   f"(load \"{_FILES}festvox/rab_diphone.scm\")\n")
    return path
