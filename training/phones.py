"""One phone set for three synthesisers: espeak's mnemonics folded onto the names flite and festival use.

Only the training targets of the encoder's auxiliary head depend on it; the manifest keeps the engine's own symbols. The
folding is rough on purpose (it ignores length and most reductions): the head teaches the encoder what speech is made of
and is dropped at export.
"""

PHONES = ["pau"] + """aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z
zh""".split()
INDEX = {name: i for i, name in enumerate(PHONES)}

_ESPEAK = {
    "@": "ax", "3": "er", "a": "ae", "aa": "ae", "A": "aa", "E": "eh", "e": "ey", "I": "ih", "i": "iy", "O": "ao", "o": "ow",
    "V": "ah", "0": "aa", "u": "uw", "U": "uh", "eI": "ey", "aI": "ay", "aU": "aw", "OI": "oy", "oU": "ow", "i@": "iy",
    "e@": "eh", "U@": "uh", "A@": "aa", "O@": "ao", "o@": "ao", "3:": "er", "aI@": "ay", "@L": "ax", "VR": "er", "IR": "er",
    "tS": "ch", "dZ": "jh", "T": "th", "D": "dh", "S": "sh", "Z": "zh", "N": "ng", "h": "hh", "j": "y", "R": "r", "x": "k",
}


def index(symbol):
    """Class of an engine's phone symbol; espeak's variants ("I2", "t#", "r-") fall back on their longest known stem."""
    for length in range(len(symbol), 0, -1):
        stem = symbol[:length]
        name = _ESPEAK.get(stem, stem)
        if name in INDEX:
            return INDEX[name]
    return 0
