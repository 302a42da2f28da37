"""Writes a trained model as a Hugging Face Whisper folder: configs, tokenizer.json, model.safetensors in f16.

    python export.py --checkpoint FILE --tokenizer FILE --out DIR

The training aids are dropped, the output projection is tied to the token embedding and therefore left out, and the folder
is read back with transformers, whose logits must agree.
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file

import tokenizer as bpe
from model import GUIDED, Config, Model

BEGIN_SUPPRESSED_TEXT = " "  # Whisper begins no transcript with a lone space, nor with the end


def config_json(model, tokens):
    """config.json, with the field names of transformers' WhisperConfig."""
    c = model.config
    return {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "is_encoder_decoder": True,
        "vocab_size": c.vocab_size, "num_mel_bins": 80, "d_model": c.d_model,
        "encoder_layers": c.encoder_layers, "encoder_attention_heads": c.heads, "encoder_ffn_dim": 4 * c.d_model,
        "decoder_layers": c.decoder_layers, "decoder_attention_heads": c.heads, "decoder_ffn_dim": 4 * c.d_model,
        "num_hidden_layers": c.encoder_layers, "max_source_positions": c.source_positions,
        "max_target_positions": c.target_positions, "max_length": c.target_positions, "activation_function": "gelu",
        "scale_embedding": False, "tie_word_embeddings": True, "use_cache": True, "dropout": 0.0,
        "attention_dropout": 0.0, "activation_dropout": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
        "init_std": 0.02, "bos_token_id": tokens.end, "eos_token_id": tokens.end, "pad_token_id": tokens.end,
        "decoder_start_token_id": tokens.start, "torch_dtype": "float16"}


def generation_json(model, tokens):
    """generation_config.json: the ids a decoder needs, as the published models state them."""
    identity = tokens.tokenizer.token_to_id
    space = tokens.encode(BEGIN_SUPPRESSED_TEXT).ids
    return {
        "alignment_heads": [list(GUIDED)], "begin_suppress_tokens": [*space, tokens.end], "suppress_tokens": [],
        "bos_token_id": tokens.end, "eos_token_id": tokens.end, "pad_token_id": tokens.end,
        "decoder_start_token_id": tokens.start, "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": identity(f"<|{code}|>") for code in bpe.LANGUAGES},
        "task_to_id": {task: identity(f"<|{task}|>") for task in ("transcribe", "translate")},
        "no_timestamps_token_id": tokens.no_timestamps, "prev_sot_token_id": identity("<|startofprev|>"),
        "max_initial_timestamp_index": 50, "max_length": model.config.target_positions, "return_timestamps": False}


PREPROCESSOR = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "sampling_rate": 16000,
                "chunk_length": 10, "hop_length": 160, "n_fft": 400, "n_samples": 160000, "nb_max_frames": 1000,
                "padding_side": "right", "padding_value": 0.0, "return_attention_mask": False,
                "processor_class": "WhisperProcessor"}


def weights(model):
    """The parameters under Hugging Face's names, f16."""
    return {f"model.{name}": value.detach().half().contiguous() for name, value in model.state_dict().items()
            if not name.startswith("phone_head")}


def export(model, tokens, folder):
    os.makedirs(folder, exist_ok=True)
    bpe.save(tokens.tokenizer, folder)
    for name, content in [("config", config_json(model, tokens)), ("generation_config", generation_json(model, tokens)),
                          ("preprocessor_config", PREPROCESSOR)]:
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
    save_file(weights(model), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def verify(model, tokens, folder):
    """Greatest difference between our logits and those of transformers on the exported folder."""
    from transformers import WhisperForConditionalGeneration
    other = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    halved = Model(model.config)
    halved.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    mel = torch.randn(2, 80, 2 * model.config.source_positions) * 0.5
    ids = torch.tensor([[tokens.start, tokens.english, tokens.transcribe, tokens.no_timestamps, 40, 50]] * 2)
    with torch.no_grad():
        ours = halved.decoder(ids, halved.encoder(mel))[0]
        theirs = other(input_features=mel, decoder_input_ids=ids).logits
    return float((ours - theirs).abs().max())


def load(path, tokens):
    """The averaged weights of a checkpoint where there are any, else its last ones."""
    saved = torch.load(path, map_location="cpu")
    model = Model(Config(tokens.size, **saved.get("sizes", {})))
    model.load_state_dict(saved.get("mean") or saved["model"])
    return model.eval()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", help="without it, a small model with random weights is written")
    for name in ("tokenizer", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    tokens = bpe.Tokens(options.tokenizer)
    if options.checkpoint:
        model = load(options.checkpoint, tokens)
    else:
        torch.manual_seed(0)
        model = Model(Config(tokens.size, d_model=64, heads=1, encoder_layers=2, decoder_layers=2)).eval()
    export(model, tokens, options.out)
    size = os.path.getsize(os.path.join(options.out, "model.safetensors"))
    print(f"{size} bytes, logits differ from transformers by at most {verify(model, tokens, options.out):.2e}")


if __name__ == "__main__":
    main()
