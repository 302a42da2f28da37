"""Writers of goldens (safetensors, JSON) with metadata about the versions that produced them."""

import importlib.metadata
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"


def versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def write_tensors(path: str, tensors: dict[str, np.ndarray], meta: dict) -> None:
    target = DATA / path
    target.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(arrays, target, metadata={"meta": json.dumps(meta)})
    target.chmod(0o644)
    print(f"{target.relative_to(DATA)}: {target.stat().st_size} bytes")


def write_json(path: str, content: dict) -> None:
    """Writes indented JSON with one line per innermost list."""
    target = DATA / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(content, 0) + "\n", encoding="utf-8")
    print(f"{target.relative_to(DATA)}: {target.stat().st_size} bytes")


def render(value, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    nested = isinstance(value, (dict, list)) and any(isinstance(v, (dict, list)) for v in (value.values() if isinstance(value, dict) else value))
    if not isinstance(value, (dict, list)) or len(flat) + depth <= 120 or (isinstance(value, list) and not nested):
        return flat
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        body = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {render(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(body) + "\n" + " " * depth + "}"
    body = [pad + render(v, depth + 1) for v in value]
    return "[\n" + ",\n".join(body) + "\n" + " " * depth + "]"
