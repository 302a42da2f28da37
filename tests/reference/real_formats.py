"""Converts a CTranslate2 Whisper folder (float16) to every other format that diarist reads.

    python real_formats.py CT2_DIR OUT_DIR

Needs numpy, ctranslate2 and gguf. torch is never used, even if it is installed. Output:

| OUT_DIR/ | written by | contents |
|---|---|---|
| safetensors/ | this script | the layout of transformers: config.json, generation_config.json, tokenizer.json, model.safetensors (f16) |
| openai.pt | this script | `dims` and `model_state_dict` (f16) in the zip format of torch.save |
| gpt2.tiktoken or multilingual.tiktoken | this script | the vocabulary of openai.pt |
| ggml-f32.bin, ggml-f16.bin | this script | the layout of whisper.cpp's convert-pt-to-ggml.py |
| ggml-q8_0.bin, q5_0, q5_1, q4_0, q4_1 | gguf.quants | the same tensors quantised as by whisper.cpp's quantize |
| ct2-TYPE/ | ctranslate2's specs | int8, int8_float32, int8_float16, int8_bfloat16, int16, bfloat16, float32 |

ctranslate2 needs torch to convert to bfloat16. Here `Bfloat16` does the rounding (to nearest, ties to even), and ctranslate2 writes
the file. formats.py verifies openai.pt with torch.load.
"""

import base64
import json
import pathlib
import pickle
import shutil
import struct
import sys
import types
import zipfile

import numpy as np
from ctranslate2.specs import model_spec, whisper_spec
from gguf import GGMLQuantizationType, quants

GGML_TYPES = ["q8_0", "q5_0", "q5_1", "q4_0", "q4_1"]
CT2_TYPES = ["int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "bfloat16", "float32"]
DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]


def read_ctranslate2(path: pathlib.Path) -> dict:
    """Reads a model.bin of binary version 6: its variables by name."""
    with path.open("rb") as file:
        number = lambda kind: struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]
        text = lambda: file.read(number("H"))[:-1].decode()
        assert (number("I"), text(), number("I")) == (6, "WhisperSpec", 3)
        variables = {}
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            dtype = np.dtype(DTYPES[number("B")])
            variables[name] = np.frombuffer(file.read(number("I")), dtype).reshape(shape)
        return variables


def to_openai(variables: dict) -> dict:
    """Renames CTranslate2's variables to openai-whisper's, and splits its fused projections."""
    leaves = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    modules = {
        "self_attention/layer_norm": ["attn_ln"],
        "self_attention/linear_0": ["attn.query", "attn.key", "attn.value"],
        "self_attention/linear_1": ["attn.out"],
        "attention/layer_norm": ["cross_attn_ln"],
        "attention/linear_0": ["cross_attn.query"],
        "attention/linear_1": ["cross_attn.key", "cross_attn.value"],
        "attention/linear_2": ["cross_attn.out"],
        "ffn/layer_norm": ["mlp_ln"],
        "ffn/linear_0": ["mlp.0"],
        "ffn/linear_1": ["mlp.2"],
    }
    single = {
        "encoder/position_encodings/encodings": "encoder.positional_embedding",
        "decoder/position_encodings/encodings": "decoder.positional_embedding",
        "decoder/embeddings/weight": "decoder.token_embedding.weight",
    }
    norms = {"encoder/layer_norm": "encoder.ln_post", "decoder/layer_norm": "decoder.ln"}
    tensors = {}
    for name, value in variables.items():
        side, _, rest = name.partition("/")
        module, _, leaf = name.rpartition("/")
        if name in single:
            tensors[single[name]] = value
        elif module in norms:
            tensors[f"{norms[module]}.{leaves[leaf]}"] = value
        elif rest.startswith("conv"):
            tensors[name.replace("/", ".")] = value
        elif rest.startswith("layer_"):
            layer, _, module = rest.rpartition("/")[0][len("layer_"):].partition("/")
            parts = modules[module]
            for part, rows in zip(parts, np.split(value, len(parts))):
                full = f"{side}.blocks.{layer}.{part}.{leaves[leaf]}"
                if full.endswith("key.bias"):
                    assert not rows.any(), full
                else:
                    tensors[full] = rows
    return tensors


def openai_dims(variables: dict) -> dict:
    layers = lambda side: len([n for n in variables if n.startswith(side) and n.endswith("/ffn/linear_0/weight")])
    vocab, width = variables["decoder/embeddings/weight"].shape
    return {
        "n_mels": variables["encoder/conv1/weight"].shape[1],
        "n_vocab": vocab,
        "n_audio_ctx": variables["encoder/position_encodings/encodings"].shape[0],
        "n_audio_state": width,
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": layers("encoder"),
        "n_text_ctx": variables["decoder/position_encodings/encodings"].shape[0],
        "n_text_state": width,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": layers("decoder"),
    }


def to_hugging_face(tensors: dict) -> dict:
    """Renames tensors from openai-whisper's names to those of transformers."""
    words = {
        "blocks": "layers", "attn_ln": "self_attn_layer_norm", "cross_attn_ln": "encoder_attn_layer_norm",
        "mlp_ln": "final_layer_norm", "attn": "self_attn", "cross_attn": "encoder_attn", "query": "q_proj",
        "key": "k_proj", "value": "v_proj", "out": "out_proj", "ln_post": "layer_norm", "ln": "layer_norm",
        "positional_embedding": "embed_positions.weight", "token_embedding": "embed_tokens",
    }
    rename = lambda name: ".".join(words.get(w, w) for w in name.replace("mlp.0", "fc1").replace("mlp.2", "fc2").split("."))
    return {f"model.{rename(name)}": value for name, value in tensors.items()}


def write_safetensors(path: pathlib.Path, tensors: dict) -> None:
    header, at = {}, 0
    for name, value in tensors.items():
        kind = {"float16": "F16", "float32": "F32"}[value.dtype.name]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).tobytes())


def write_hugging_face(folder: pathlib.Path, source: pathlib.Path, tensors: dict, dims: dict) -> None:
    folder.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    width, eot = dims["n_text_state"], text_tokens(dims["n_vocab"])
    special = {"decoder_start_token_id": eot + 1, "eos_token_id": eot} if eot > 0 else {}
    sizes = {
        "model_type": "whisper", "d_model": width, "encoder_layers": dims["n_audio_layer"],
        "encoder_attention_heads": dims["n_audio_head"], "encoder_ffn_dim": 4 * width,
        "decoder_layers": dims["n_text_layer"], "decoder_attention_heads": dims["n_text_head"],
        "decoder_ffn_dim": 4 * width, "num_mel_bins": dims["n_mels"], "max_source_positions": dims["n_audio_ctx"],
        "max_target_positions": dims["n_text_ctx"], "vocab_size": dims["n_vocab"], "activation_function": "gelu",
        **special,
    }
    generation = {
        "suppress_tokens": config["suppress_ids"], "begin_suppress_tokens": config["suppress_ids_begin"],
        "alignment_heads": config["alignment_heads"], "is_multilingual": dims["n_vocab"] >= 51865,
        "max_initial_timestamp_index": 50,
    }
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    shutil.copy(source / "tokenizer.json", folder)
    write_safetensors(folder / "model.safetensors", to_hugging_face(tensors))


class Storage:
    """The bytes of one tensor, which torch.save stores outside of the pickle."""

    def __init__(self, key: int, value: np.ndarray):
        self.key, self.value = str(key), np.ascontiguousarray(value)


class Tensor:
    """Pickles as the call that rebuilds a tensor from its storage."""

    def __init__(self, storage: Storage, rebuild):
        self.storage, self.rebuild = storage, rebuild

    def __reduce__(self):
        shape = self.storage.value.shape
        strides = tuple(step // self.storage.value.itemsize for step in self.storage.value.strides)
        return self.rebuild, (self.storage, 0, shape, strides, False, {})


def write_openai(path: pathlib.Path, tensors: dict, dims: dict) -> None:
    """Writes the format of torch.save without torch: classes of the same names replace torch's own while pickling."""
    modules = {name: types.ModuleType(name) for name in ["torch", "torch._utils"]}
    for module, name in [("torch", "HalfStorage"), ("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2")]:
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    kinds = {"float16": modules["torch"].HalfStorage, "float32": modules["torch"].FloatStorage}
    storages = [Storage(key, value) for key, value in enumerate(tensors.values())]
    rebuild = modules["torch._utils"]._rebuild_tensor_v2
    state = {name: Tensor(storage, rebuild) for name, storage in zip(tensors, storages)}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return "storage", kinds[value.value.dtype.name], value.key, "cpu", value.value.size
            return None

    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("archive/data.pkl", "w") as file:
                Pickler(file, protocol=2).dump({"dims": dims, "model_state_dict": state})
            archive.writestr("archive/byteorder", "little")
            for storage in storages:
                archive.writestr(f"archive/data/{storage.key}", storage.value.tobytes())
            archive.writestr("archive/version", "3\n")
    finally:
        for name, module in saved.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def text_tokens(vocab: int) -> int:
    """Number of text tokens, which precede <|endoftext|>: 50256 in the English-only models, 50257 in the others."""
    return 50256 + (vocab >= 51865) if vocab >= 51864 else vocab - 1501 - 8


def byte_tokens(tokenizer: pathlib.Path, count: int) -> list:
    """The first `count` tokens of a tokenizer.json as bytes."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in seen]
    byte_of = {chr(b): b for b in seen} | {chr(0x100 + i): b for i, b in enumerate(hidden)}
    vocab = json.loads(tokenizer.read_text())["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get)[:count]
    assert [vocab[token] for token in tokens] == list(range(count))
    return [bytes(byte_of[c] for c in token) for token in tokens]


def write_tiktoken(path: pathlib.Path, tokens: list) -> None:
    lines = [f"{base64.b64encode(token).decode() or '='} {rank}\n" for rank, token in enumerate(tokens)]
    path.write_text("".join(lines))


def mel_filters(bins: int) -> np.ndarray:
    """Slaney's mel filters, equal to librosa.filters.mel(sr=16000, n_fft=400). The format requires them; diarist ignores them."""
    linear, step = 15.0, np.log(6.4) / 27
    to_hertz = lambda mel: np.where(mel < linear, mel * 200 / 3, 1000 * np.exp(step * (mel - linear)))
    edges = to_hertz(np.linspace(0, linear + np.log(8) / step, bins + 2))
    ramps = edges[:, None] - np.linspace(0, 8000, 201)[None]
    width = np.diff(edges)[:, None]
    weights = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1], ramps[2:] / width[1:]))
    return (weights * 2 / (edges[2:] - edges[:-2])[:, None]).astype(np.float32)


def write_ggml(path: pathlib.Path, tensors: dict, dims: dict, tokens: list, kind: str) -> None:
    """Writes the format of convert-pt-to-ggml.py. `kind` is f32, f16, or a quantised type for all matrices except the position
    embeddings."""
    order = ["n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx", "n_text_state",
             "n_text_head", "n_text_layer", "n_mels"]
    file_types = {"f32": 0, "f16": 1, "q4_0": 2002, "q4_1": 2003, "q8_0": 2007, "q5_0": 2008, "q5_1": 2009}
    filters = mel_filters(dims["n_mels"])
    with path.open("wb") as file:
        file.write(struct.pack("<I10iI", 0x67676D6C, *(dims[name] for name in order), file_types[kind]))
        file.write(struct.pack("<ii", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", len(tokens)) + b"".join(struct.pack("<i", len(t)) + t for t in tokens))
        for name, value in tensors.items():
            if name in ["encoder.conv1.bias", "encoder.conv2.bias"]:
                value = value.reshape(-1, 1)
            small = value.ndim < 2 or value.shape[-1] == 1 or name.endswith("positional_embedding")
            if kind == "f32" or small:
                number, data = 0, value.astype(np.float32).tobytes()
            elif kind == "f16" or value.ndim == 3:
                number, data = 1, value.astype(np.float16).tobytes()
            else:
                number = GGMLQuantizationType[kind.upper()]
                data = quants.quantize(np.ascontiguousarray(value, np.float32), number).tobytes()
            file.write(struct.pack("<3i", value.ndim, len(name), int(number)))
            file.write(struct.pack(f"<{value.ndim}i", *reversed(value.shape)) + name.encode() + data)


class Bfloat16(model_spec.Variable):
    """An array rounded to bfloat16, to nearest and ties to even."""

    def __init__(self, array: np.ndarray):
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        self.bits = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)

    shape = property(lambda self: list(self.bits.shape))
    dtype = property(lambda self: "bfloat16")

    def numpy(self):
        return self.bits

    def num_bytes(self):
        return self.bits.nbytes

    def to_bytes(self):
        return self.bits.tobytes()

    def _to(self, dtype):
        raise NotImplementedError(dtype)

    def _equal(self, other):
        return isinstance(other, Bfloat16) and np.array_equal(self.bits, other.bits)


def write_ctranslate2(folder: pathlib.Path, source: pathlib.Path, variables: dict, kind: str) -> None:
    """Writes a model with ctranslate2's own code: fills its specification, quantises and saves it."""
    dims = openai_dims(variables)
    spec = whisper_spec.WhisperSpec(
        dims["n_audio_layer"], dims["n_audio_head"], dims["n_text_layer"], dims["n_text_head"]
    )
    for name, value in variables.items():
        scope, _, attribute = name.rpartition("/")
        setattr(model_spec.index_spec(spec, scope), attribute, value.copy() if value.ndim else value[()])
    spec.decoder.projection.weight = variables["decoder/embeddings/weight"].copy()
    for key, value in json.loads((source / "config.json").read_text()).items():
        setattr(spec.config, key, value)
    tokens = (source / "vocabulary.txt").read_text().split("\n")[: dims["n_vocab"]]
    spec.register_vocabulary(tokens + [f"<unused{i}>" for i in range(dims["n_vocab"] - len(tokens))])
    spec.validate()
    spec.optimize({"bfloat16": "float32", "int8_bfloat16": "int8_float32"}.get(kind, kind))
    if kind.endswith("bfloat16"):
        def narrow(layer, name, value):
            if isinstance(value, model_spec.Variable) and value.dtype == "float32" and not value.is_scalar():
                attribute = name.rpartition("/")[2]
                if not attribute.endswith("_scale"):
                    setattr(layer, attribute, Bfloat16(value.numpy()))

        model_spec.visit_spec(spec, narrow)
    folder.mkdir(parents=True)
    spec.save(str(folder))
    if (source / "tokenizer.json").exists():
        shutil.copy(source / "tokenizer.json", folder)


def main(source: pathlib.Path, target: pathlib.Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    variables = read_ctranslate2(source / "model.bin")
    tensors, dims = to_openai(variables), openai_dims(variables)
    tokens = byte_tokens(source / "tokenizer.json", text_tokens(dims["n_vocab"]))
    write_hugging_face(target / "safetensors", source, tensors, dims)
    write_openai(target / "openai.pt", tensors, dims)
    write_tiktoken(target / ("multilingual.tiktoken" if dims["n_vocab"] >= 51865 else "gpt2.tiktoken"), tokens)
    for kind in ["f32", "f16", *GGML_TYPES]:
        write_ggml(target / f"ggml-{kind}.bin", tensors, dims, tokens, kind)
    for kind in CT2_TYPES:
        write_ctranslate2(target / f"ct2-{kind}", source, variables, kind)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
