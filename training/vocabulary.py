"""Word lists: about five hundred everyday English words, inflected forms included.

Everything the corpus can say is spelled out here, so that "a closed vocabulary" is a fact and not an impression.
"""

NAMES = """Anna Ben Carla Daniel Emma Frank Grace Henry Karen Leo Maria Oscar Peter Rachel Simon Victor""".split()

PLACES = """London Paris Berlin Boston Canada Italy""".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

ONES = "one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()

# Countable things; the plural is regular unless IRREGULAR_PLURALS says otherwise.
OBJECTS = """answer bag book bottle box bridge budget building camera car chair computer contract customer desk document
dog door email garden hotel house kitchen letter machine market meeting message movie office paper park phone picture plan
problem product project question report result room school screen shop song story street table team test ticket train
version video window""".split()

PEOPLE = """manager doctor friend brother sister teacher student engineer mother father""".split()

IRREGULAR_PLURALS = {"child": "children", "woman": "women", "man": "men", "person": "people", "fish": "fish",
                     "bread": "bread", "coffee": "coffee", "rain": "rain"}

MASS = """water coffee money music time work food news help information""".split()

ADJECTIVES = """big small new old good bad long short early late easy happy slow cold warm bright clean empty open quiet
heavy expensive free ready simple difficult important different serious tired angry beautiful perfect strong blue green
yellow black white""".split()

ADVERBS = """quickly really probably usually often sometimes never always already again finally together""".split()

# base, third person, past, -ing. Transitive verbs whose object may be any thing.
VERBS = [tuple(form.replace("_", " ") for form in verb.split("/")) for verb in """
bring/brings/brought/bringing build/builds/built/building buy/buys/bought/buying change/changes/changed/changing
check/checks/checked/checking clean/cleans/cleaned/cleaning close/closes/closed/closing
discuss/discusses/discussed/discussing explain/explains/explained/explaining find/finds/found/finding
finish/finishes/finished/finishing fix/fixes/fixed/fixing forget/forgets/forgot/forgetting like/likes/liked/liking
move/moves/moved/moving need/needs/needed/needing open/opens/opened/opening read/reads/read/reading
remember/remembers/remembered/remembering see/sees/saw/seeing sell/sells/sold/selling send/sends/sent/sending
show/shows/showed/showing start/starts/started/starting talk_about/talks_about/talked_about/talking_about
test/tests/tested/testing use/uses/used/using want/wants/wanted/wanting write/writes/wrote/writing""".split()]

# Verbs without an object.
MOVES = [tuple(verb.split("/")) for verb in """arrive/arrives/arrived/arriving drive/drives/drove/driving
play/plays/played/playing sit/sits/sat/sitting sleep/sleeps/slept/sleeping stay/stays/stayed/staying
travel/travels/traveled/traveling wait/waits/waited/waiting work/works/worked/working""".split()]


def plural(noun):
    """English plural of `noun`, regular spelling rules plus the short list of exceptions."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
