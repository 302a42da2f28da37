"""Whisper checkpoints with seeded random weights, as transformers models and as folders on disk."""

import json
import pathlib

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

import seeded
import tokenizer as tok

# Lists of openai/whisper's published multilingual checkpoints, shortened.
SUPPRESS = [1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63]


def config_of(vocab: int, mels: int, width: int, heads: int, encoder: int, decoder: int, context: int, **weights) -> dict:
    """The description of a checkpoint in the JSON of a golden: HF config fields, seed and gains."""
    ids = tok.special_ids(vocab)
    return {
        "model_type": "whisper",
        "vocab_size": vocab,
        "num_mel_bins": mels,
        "d_model": width,
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "max_source_positions": context,
        "max_target_positions": 448,
        "activation_function": "gelu",
        "scale_embedding": False,
        "bos_token_id": ids["eot"],
        "eos_token_id": ids["eot"],
        "pad_token_id": ids["eot"],
        "decoder_start_token_id": ids["sot"],
        "timestamp_begin": ids["timestamp_begin"],
        "weights": weights,
    }


def build(config: dict) -> WhisperForConditionalGeneration:
    """The transformers model (f32, eager attention) with seeded weights."""
    torch.manual_seed(0)
    fields = {k: v for k, v in config.items() if k not in ("weights", "timestamp_begin", "model_type")}
    hf = WhisperConfig(**fields, suppress_tokens=None, begin_suppress_tokens=None, attn_implementation="eager")
    model = WhisperForConditionalGeneration(hf).eval()
    state = model.state_dict()
    for name, value in state.items():
        if name != "proj_out.weight":  # tied to model.decoder.embed_tokens.weight
            value.copy_(torch.from_numpy(seeded.tensor(name, tuple(value.shape), config)))
    model.tie_weights()
    return model


def generation_config(vocab: int) -> dict:
    """The generation_config.json of the published checkpoints."""
    ids = tok.special_ids(vocab)
    fields = {
        "begin_suppress_tokens": [220, ids["eot"]],
        "suppress_tokens": SUPPRESS + [ids[k] for k in ("translate", "transcribe", "sot_lm", "sot_prev", "no_speech")],
        "decoder_start_token_id": ids["sot"],
        "eos_token_id": ids["eot"],
        "pad_token_id": ids["eot"],
        "bos_token_id": ids["eot"],
        "no_timestamps_token_id": ids["no_timestamps"],
        "is_multilingual": vocab >= 51865,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "return_timestamps": False,
    }
    if vocab >= 51865:
        fields["lang_to_id"] = {f"<|{code}|>": ids["sot"] + 1 + i for i, code in enumerate(tok.languages(vocab))}
        fields["task_to_id"] = {"transcribe": ids["transcribe"], "translate": ids["translate"]}
    return fields


def save(config: dict, folder: pathlib.Path) -> WhisperForConditionalGeneration:
    """Writes the checkpoint as a folder in the Hugging Face layout; needs the tokenizer ranks."""
    model = build(config)
    model.generation_config = GenerationConfig.from_dict(generation_config(config["vocab_size"]))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tok.save(config["vocab_size"], folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config["num_mel_bins"],
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }, indent=2))
    return model
