"""Writes a trained aligner as a Hugging Face folder: config.json, vocab.json, preprocessor_config.json, model.safetensors in f16.

    python export_aligner.py --checkpoint FILE --out DIR

The folder is read back with transformers, whose logits must be those of the network that was trained.
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2ForCTC

import aligner

# Of transformers' config, what describes the network; the rest is about training.
FIELDS = """vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act layer_norm_eps
feat_extract_norm feat_extract_activation conv_dim conv_stride conv_kernel conv_bias num_conv_pos_embeddings
num_conv_pos_embedding_groups do_stable_layer_norm mask_time_prob pad_token_id bos_token_id eos_token_id""".split()
PREPROCESSOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000,
                "padding_side": "right", "padding_value": 0.0, "do_normalize": True, "return_attention_mask": True}


def load(path):
    """The averaged weights of a checkpoint where there are any, else its last ones."""
    saved = torch.load(path, map_location="cpu")
    model = aligner.network()
    model.load_state_dict(saved.get("mean") or saved["model"])
    return model.eval()


def export(model, folder):
    os.makedirs(folder, exist_ok=True)
    known = model.config.to_dict()
    config = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **{name: known[name] for name in FIELDS},
              "torch_dtype": "float16"}
    for name, content in [("config", config), ("vocab", aligner.VOCABULARY), ("preprocessor_config", PREPROCESSOR)]:
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def verify(model, folder):
    """(greatest difference between the logits of the halved network and transformers' on the folder, that to the unhalved)."""
    other = Wav2Vec2ForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    halved = aligner.network()
    halved.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    audio = torch.randn(2, 32000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, same, close = (m.eval()(audio).logits for m in (other, halved, model))
    return float((wanted - same).abs().max()), float((wanted - close).abs().max())


def main():
    parser = argparse.ArgumentParser()
    for name in ("checkpoint", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    model = load(options.checkpoint)
    export(model, options.out)
    path = os.path.join(options.out, "model.safetensors")
    same, close = verify(model, options.out)
    print(f"{os.path.getsize(path)} bytes, {sum(v.numel() for v in model.parameters())} parameters; logits differ from "
          f"transformers by at most {same:.2e}, by {close:.2e} before halving")


if __name__ == "__main__":
    main()
