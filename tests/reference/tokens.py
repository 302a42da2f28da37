"""Token ids of various texts by openai-whisper's tokenizer (tiktoken), for both vocabularies."""

import random

from whisper.tokenizer import get_tokenizer

import golden

TEXTS = [
    " And so, my fellow Americans, ask not what your country can do for you.", "don't can't I'll we've he'd it's 'S",
    " £5 — naïve café 日本語のテキスト 🎧🎧\n", "  two  spaces\t\ttabs \r\n\r\n lines  ", "12345 3.14 1,000,000 ½ Ⅷ ٣",
    " Grüße aus München, straße", " Привет, мир! Как дела?", "你好，世界。今天天气很好。", "안녕하세요 세계", "สวัสดีชาวโลก",
    "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", " ♪♪♪ (laughs) [music] <unk> {x} -- ... !!! ???", "a\u0301 e\u0301 \u200b\u00a0\u3000",
    "👨‍👩‍👧‍👦 family", "\ufeffBOM", "\x00\x01\x7f", "supercalifragilisticexpialidocious antidisestablishmentarianism",
    " " * 17, "\n" * 9, "-" * 70, "x" * 40, "",
]
SEED = 7


def random_text(source: random.Random) -> str:
    """Words of random characters from many Unicode blocks."""
    ranges = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
              (0x1100, 0x11FF), (0x2000, 0x27BF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF)]
    words = []
    for _ in range(source.randint(1, 12)):
        low, high = source.choice(ranges)
        words.append("".join(chr(source.randint(low, high)) for _ in range(source.randint(1, 8))))
    return source.choice(["", " "]) + source.choice([" ", "  ", "\n"]).join(words)


def main() -> None:
    source = random.Random(SEED)
    texts = TEXTS + [random_text(source) for _ in range(120)]
    content = {"meta": {"seed": SEED, "versions": golden.versions("openai-whisper", "tiktoken")}}
    for name, multilingual in [("gpt2", False), ("multilingual", True)]:
        tokenizer = get_tokenizer(multilingual)
        content[name] = [{"text": text, "ids": tokenizer.encode(text)} for text in texts]
    golden.write_json("tokenizer/tokens.json", content)


if __name__ == "__main__":
    main()
