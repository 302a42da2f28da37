"""Encoder output and decoder logits of transformers' Whisper, f32, eager attention."""

import numpy as np
import torch

import golden
import seeded
import tokenizer as tok
import whisper_model

# vocab, mels, width, heads, encoder layers, decoder layers, context
CONFIGS = {
    "multilingual-64": (51865, 80, 64, 1, 2, 2, 1500),
    "large-v3-128": (51866, 128, 128, 2, 4, 2, 1500),
    "english-64": (51864, 80, 64, 2, 2, 3, 1500),
    "base-512": (51865, 80, 512, 8, 1, 1, 500),
    "tiny-384": (51865, 80, 384, 6, 2, 1, 100),
    "short-64": (51865, 80, 64, 1, 1, 4, 100),
}


def main():
    torch.set_num_threads(2)
    meta = {"script": "whisper_forward.py", **golden.versions("transformers", "torch", "numpy")}
    tensors, cases = {}, []
    for number, (name, shape) in enumerate(CONFIGS.items()):
        config = whisper_model.config_of(*shape, seed=100 + number)
        model = whisper_model.build(config)
        vocab, mels, width, _, _, _, context = shape
        ids = tok.special_ids(vocab)
        task = [ids["sot"] + 1 + number, ids["transcribe"]] if vocab >= 51865 else []
        prompt = [ids["sot_prev"], 400, 11, 1770] if number % 2 else []
        prompt += [ids["sot"], *task, ids["no_timestamps"], 440, 7177, 6280, 2583, 286, 2897, 337]
        features = seeded.features(200 + number, mels, 2 * context)
        with torch.no_grad():
            encoded = model.model.encoder(torch.from_numpy(features)[None]).last_hidden_state
            logits = model(encoder_outputs=(encoded,), decoder_input_ids=torch.tensor([prompt])).logits[0]
            # the same in f64, to measure the error of f32
            double = model.double()
            encoded64 = double.model.encoder(torch.from_numpy(features)[None].double()).last_hidden_state
            logits64 = double(encoder_outputs=(encoded64,), decoder_input_ids=torch.tensor([prompt])).logits[0]
        time_stride, vocab_stride = max(1, context // 12), 997
        top = torch.topk(logits, 5, dim=-1)
        tensors[f"{name}.encoder"] = encoded[0, ::time_stride, :: max(1, width // 32)].numpy()
        tensors[f"{name}.logits"] = logits[:, ::vocab_stride].numpy()
        tensors[f"{name}.top_ids"] = top.indices.to(torch.int32).numpy()
        tensors[f"{name}.top_logits"] = top.values.numpy()
        tensors[f"{name}.logsumexp"] = torch.logsumexp(logits, -1).numpy()
        cases.append({
            "name": name,
            "config": config,
            "features": {"seed": 200 + number, "mels": mels, "frames": 2 * context},
            "prompt": prompt,
            "encoder_stride": [time_stride, max(1, width // 32)],
            "logits_stride": [1, vocab_stride],
            "f32_error": {
                "encoder": float((encoded - encoded64).abs().max()),
                "logits": float((logits - logits64).abs().max()),
            },
        })
        print(name, cases[-1]["f32_error"], "spread", float(logits.std()), "next", int(top.indices[-1, 0]))
    golden.write_tensors("whisper/forward.safetensors", tensors, {**meta, "order": list(CONFIGS)})
    golden.write_json("whisper/forward.json", {"meta": meta, "cases": cases})


if __name__ == "__main__":
    main()
