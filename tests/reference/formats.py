"""A tiny Whisper in every format that diarist reads, and blocks of whisper.cpp's quantised types with their values.

The weights are those of seeded.py, rounded to f16. CTranslate2's files are written by ctranslate2's specifications, the
checkpoints of openai-whisper by torch.save; blocks are quantised and dequantised by gguf.quants. The other files are written by
real_formats.py, whose openai.pt is verified here by loading it with torch.
"""

import importlib.metadata
import json
import pathlib
import shutil
import tempfile

import numpy as np
import torch
import whisper.model
from gguf import GGMLQuantizationType, quants

import golden
import real_formats
import seeded

TARGET = golden.DATA / "formats"
CONFIG = {
    "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 128, "decoder_layers": 1,
    "decoder_attention_heads": 1, "decoder_ffn_dim": 128, "num_mel_bins": 16, "max_source_positions": 20,
    "max_target_positions": 16, "vocab_size": 64, "eos_token_id": 50, "timestamp_begin": 60, "weights": {"seed": 18},
}
LISTS = {
    "suppress_ids": [1, 2, 51], "suppress_ids_begin": [3, 50], "alignment_heads": [[0, 0]], "lang_ids": [52, 53],
}
CT2_TYPES = ["float16", "int8_float16", "int8_float32", "int16", "bfloat16", "float32"]
BLOCKS = 48
SEED = 1830


def variables() -> dict:
    """The tiny model under CTranslate2's names, f16, with the scalars of WhisperSpec."""
    width, inner, vocab = CONFIG["d_model"], CONFIG["encoder_ffn_dim"], CONFIG["vocab_size"]
    made = lambda name, *shape: seeded.tensor(name, shape, CONFIG).astype(np.float16)
    out = {
        "encoder/num_heads": np.int16(1), "decoder/num_heads": np.int16(1),
        "decoder/embeddings/weight": made("model.decoder.embed_tokens.weight", vocab, width),
        "encoder/conv1/weight": made("model.encoder.conv1.weight", width, CONFIG["num_mel_bins"], 3),
        "encoder/conv1/bias": made("model.encoder.conv1.bias", width),
        "encoder/conv2/weight": made("model.encoder.conv2.weight", width, width, 3),
        "encoder/conv2/bias": made("model.encoder.conv2.bias", width),
    }
    for side, positions in [("encoder", "max_source_positions"), ("decoder", "max_target_positions")]:
        layer, model = f"{side}/layer_0", f"model.{side}.layers.0"
        out[f"{side}/position_encodings/encodings"] = made(
            f"model.{side}.embed_positions.weight", CONFIG[positions], width
        )

        def norm(name: str, of: str) -> None:
            out[f"{name}/gamma"], out[f"{name}/beta"] = made(f"{of}.weight", width), made(f"{of}.bias", width)

        def linear(name: str, parts: list, rows: int, cols: int) -> None:
            bias = lambda part: np.zeros(rows, np.float16) if part.endswith("k_proj") else made(f"{part}.bias", rows)
            out[f"{name}/weight"] = np.concatenate([made(f"{part}.weight", rows, cols) for part in parts])
            out[f"{name}/bias"] = np.concatenate([bias(part) for part in parts])

        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        norm(f"{layer}/self_attention/layer_norm", f"{model}.self_attn_layer_norm")
        projections = lambda attention, names: [f"{model}.{attention}.{name}_proj" for name in names]
        linear(f"{layer}/self_attention/linear_0", projections("self_attn", "qkv"), width, width)
        linear(f"{layer}/self_attention/linear_1", projections("self_attn", ["out"]), width, width)
        if side == "decoder":
            norm(f"{layer}/attention/layer_norm", f"{model}.encoder_attn_layer_norm")
            for i, names in enumerate(["q", "kv", ["out"]]):
                linear(f"{layer}/attention/linear_{i}", projections("encoder_attn", names), width, width)
        norm(f"{layer}/ffn/layer_norm", f"{model}.final_layer_norm")
        linear(f"{layer}/ffn/linear_0", [f"{model}.fc1"], inner, width)
        linear(f"{layer}/ffn/linear_1", [f"{model}.fc2"], width, inner)
    return out


def write_blocks(dims: dict, tokens: list) -> None:
    """Blocks of every type from random numbers of many magnitudes, and their dequantised values by gguf."""
    random = np.random.default_rng(SEED)
    values = random.standard_normal((BLOCKS, 32)) * np.exp(random.uniform(-12, 6, (BLOCKS, 1)))
    values[0] = 0
    tensors, expected = {}, {}
    for kind in real_formats.GGML_TYPES:
        number = GGMLQuantizationType[kind.upper()]
        blocks = quants.quantize(values.astype(np.float32), number)
        expected[kind] = quants.dequantize(blocks, number)
        tensors[kind] = (int(number), blocks)
    path = TARGET / "blocks.bin"
    real_formats.write_ggml(path, {}, dims, tokens, "f32")
    with path.open("ab") as file:
        for name, (number, blocks) in tensors.items():
            file.write(np.array([2, len(name), number, 32, BLOCKS], "<i4").tobytes() + name.encode() + blocks.tobytes())
    real_formats.write_safetensors(TARGET / "blocks.safetensors", expected)


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    made = variables()
    tensors, dims = real_formats.to_openai(made), real_formats.openai_dims(made)
    tokens = [bytes([65 + i]) for i in range(CONFIG["eos_token_id"])]
    with tempfile.TemporaryDirectory() as name:
        source = pathlib.Path(name)
        (source / "config.json").write_text(json.dumps(LISTS))
        (source / "tokenizer.json").write_text("{}")
        (source / "vocabulary.txt").write_text("\n".join(token.decode("latin-1") for token in tokens))
        real_formats.write_hugging_face(TARGET / "safetensors", source, tensors, dims)
        (source / "tokenizer.json").unlink()
        for kind in CT2_TYPES:
            real_formats.write_ctranslate2(TARGET / f"ct2-{kind}", source, made, kind)
            (TARGET / f"ct2-{kind}" / "vocabulary.json").unlink()
    (TARGET / "safetensors" / "tokenizer.json").unlink()
    for kind in ["f32", "f16", *real_formats.GGML_TYPES]:
        real_formats.write_ggml(TARGET / f"ggml-{kind}.bin", tensors, dims, tokens, kind)
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    checkpoint = {"dims": dims, "model_state_dict": state}
    torch.save(checkpoint, TARGET / "openai.pt")
    torch.save(checkpoint, TARGET / "openai-legacy.pt", _use_new_zipfile_serialization=False)
    fine_tuned = {"dims": whisper.model.ModelDimensions(**dims), "model_state_dict": dict(list(state.items())[:1])}
    torch.save(fine_tuned, TARGET / "openai-dataclass.pt")
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name) / "openai.pt"
        real_formats.write_openai(path, tensors, dims)
        loaded = torch.load(path, weights_only=True)
        assert loaded["dims"] == dims and list(loaded["model_state_dict"]) == list(state)
        assert all(torch.equal(loaded["model_state_dict"][name], value) for name, value in state.items())
    write_blocks(dims, tokens)
    versions = {name: importlib.metadata.version(name) for name in ["ctranslate2", "gguf", "numpy", "openai-whisper", "torch"]}
    meta = {"config": CONFIG, "lists": LISTS, "seed": SEED, "versions": versions}
    (TARGET / "meta.json").write_text(json.dumps(meta))


if __name__ == "__main__":
    main()
