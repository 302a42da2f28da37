"""Checkpoints written by torch.save in both of its formats, and two with a malicious pickle.

The values are multiples of one half that every element type represents exactly. The Rust test uses the same formula: element i
(row-major) of the tensor with ordinal k is (i * 7 + k * 3) % 64 / 2 - 8.
"""

import collections

import torch

import golden

TARGET = golden.DATA / "torch"


def values(ordinal: int, *shape: int) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return (((torch.arange(count) * 7 + ordinal * 3) % 64).double() / 2 - 8).reshape(shape)


def state_dict() -> dict:
    shared = values(4, 4, 6).float()
    tensors = collections.OrderedDict()
    tensors["plain.f32"] = values(0, 2, 3, 4).float()
    tensors["plain.f16"] = values(1, 5).half()
    tensors["plain.bf16"] = values(2, 3, 3).bfloat16()
    tensors["plain.i64"] = (values(3, 4) * 2).long()
    tensors["shared.whole"] = shared
    tensors["shared.rows"] = shared[1:3]
    tensors["shared.column"] = shared[:, 2]
    tensors["shared.transposed"] = shared.T
    tensors["steps"] = values(5, 3, 8).half()[:, ::3]
    tensors["permuted"] = values(6, 2, 3, 4).bfloat16().permute(2, 0, 1)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["one.row"] = values(7, 1, 6).float().expand(1, 6)
    tensors["repeated"] = torch.tensor([2.5]).expand(4, 3)
    tensors["f64"] = values(8, 2)
    tensors["parameter"] = torch.nn.Parameter(values(9, 2, 2).float())
    return tensors


class Command:
    """A malicious pickle payload: unpickling it would run a command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


class Unknown:
    """An object of a class that the reader does not know, as stored by training frameworks."""

    def __init__(self):
        self.task = {"classes": ["a", "b"], "weight": torch.ones(2)}


def save(name: str, content, **how) -> None:
    path = TARGET / name
    with path.open("wb") as file:
        torch.save(content, file, **how)
    print(f"torch/{name}: {path.stat().st_size} bytes")


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    torch.serialization.set_crc32_options(True)
    tensors = state_dict()
    save("zip.bin", tensors)
    save("bare.bin", tensors, _use_new_zipfile_serialization=False)
    save("zip-protocol-4.bin", dict(tensors), pickle_protocol=4)
    save("bare-protocol-4.bin", dict(tensors), pickle_protocol=4, _use_new_zipfile_serialization=False)
    lightning = {"epoch": 3, "note": 0.5, "hyper_parameters": Unknown(), "state_dict": dict(tensors)}
    lightning["pyannote.audio"] = {"specifications": Unknown(), "big": 1 << 80, "set": {1, 2}, "bytes": b"raw"}
    save("lightning.bin", lightning)
    trap = {"weight": values(0, 2, 2).float(), "trap": Command("touch trapped; echo trapped")}
    save("trap.bin", trap)
    save("trap-bare.bin", trap, _use_new_zipfile_serialization=False)
    golden.write_json("torch/meta.json", {"meta": {"script": "torch_files.py", **golden.versions("torch")}})


if __name__ == "__main__":
    main()
