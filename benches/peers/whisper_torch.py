"""Times Whisper on a GPU as transformers runs it, beside diarist: the same shape, the same forced number of tokens, one run.

    python benches/peers/whisper_torch.py --diarist target/release/diarist-bench --shape large-v2 --out DIR

Weights are random (speed does not depend on their values as long as nothing ends early). Peers: eager with SDPA in f16, and a
static cache with the decoder step compiled. What is timed: encoding a batch, and the mean decode step over `--tokens` steps, at
batch sizes 1 and 32. Medians of `--repeats` runs after a warm-up; device events around the region.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

# width, heads, encoder layers, decoder layers, mel bins, vocabulary: the published config.json files
SHAPES = {
    "tiny": (384, 6, 4, 4, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "large-v2": (1280, 20, 32, 32, 80, 51865),
    "turbo": (1280, 20, 32, 4, 128, 51866),
}
CONTEXT, PROMPT = 1500, 4


def build(shape):
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    width, heads, encoder_layers, decoder_layers, mels, vocab = SHAPES[shape]
    config = WhisperConfig(vocab_size=vocab, num_mel_bins=mels, d_model=width, encoder_attention_heads=heads,
                           decoder_attention_heads=heads, encoder_layers=encoder_layers, decoder_layers=decoder_layers,
                           encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, max_source_positions=CONTEXT,
                           max_target_positions=448)
    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.float16)
        model = WhisperForConditionalGeneration._from_config(config, attn_implementation="sdpa")
        torch.set_default_dtype(torch.float32)
    return model.eval()


def milliseconds(run, repeats):
    """Median time of `run`, by device events, after one warm-up."""
    import torch

    times = []
    for i in range(repeats + 1):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if i:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def encoder(model, batch, repeats):
    import torch

    mel = torch.randn(batch, model.config.num_mel_bins, 2 * CONTEXT, dtype=torch.float16, device="cuda")
    return milliseconds(lambda: model.model.encoder(mel), repeats)


def eager_step(model, batch, tokens, repeats):
    """Mean decode step with a growing cache, greedy, everything on the device."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache

    mel = torch.randn(batch, model.config.num_mel_bins, 2 * CONTEXT, dtype=torch.float16, device="cuda")
    encoded = model.model.encoder(mel).last_hidden_state
    prompt = torch.full((batch, PROMPT), 50258, device="cuda")

    def run():
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = prompt
        for _ in range(tokens):
            hidden = model.model.decoder(input_ids=ids, encoder_hidden_states=encoded, past_key_values=cache, use_cache=True)
            ids = model.proj_out(hidden.last_hidden_state[:, -1:]).argmax(-1)

    return milliseconds(run, repeats) / tokens


def compiled_step(model, batch, tokens, repeats):
    """The same with a static cache and the step compiled into CUDA graphs, through `generate`."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    mel = torch.randn(batch, model.config.num_mel_bins, 2 * CONTEXT, dtype=torch.float16, device="cuda")
    encoded = BaseModelOutput(last_hidden_state=model.model.encoder(mel).last_hidden_state)
    model.generation_config.cache_implementation = "static"
    model.forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    prompt = torch.full((batch, PROMPT), 50258, device="cuda")

    def run():
        super(type(model), model).generate(encoder_outputs=encoded, decoder_input_ids=prompt, do_sample=False, num_beams=1,
                                           min_new_tokens=tokens, max_new_tokens=tokens, suppress_tokens=[])

    return milliseconds(run, repeats) / tokens


def diarist(command, shape, batch, tokens, repeats):
    arguments = [command, "--shape", shape, "--device", "cuda", "--batch", str(batch), "--tokens", str(tokens), "--stages", "--runs",
                 str(repeats), "--json"]
    return json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--diarist", help="the command that starts diarist-bench")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()

    import torch
    import transformers

    rows = []
    with torch.inference_mode():
        for shape in options.shape or ["large-v2", "turbo"]:
            model = build(shape)
            for batch in options.batches:
                row = {"shape": shape, "batch": batch, "encoder_ms": encoder(model, batch, options.repeats),
                       "eager_ms": eager_step(model, batch, options.tokens, options.repeats)}
                if not options.no_compile:
                    try:
                        row["compiled_ms"] = compiled_step(build(shape), batch, options.tokens, options.repeats)
                    except Exception as error:  # a peer that does not run is reported, not hidden
                        row["compiled_error"] = str(error)[:300]
                rows.append(row)
            del model
            torch.cuda.empty_cache()
    if options.diarist:
        for row in rows:
            ours = diarist(options.diarist, row["shape"], row["batch"], options.tokens, options.repeats)
            row["diarist"] = ours
            row["eager_over_diarist"] = row["eager_ms"] / ours["step_ms"]
            row["encoder_over_diarist"] = row["encoder_ms"] / ours["encoder_ms"]
            if "compiled_ms" in row:
                row["compiled_over_diarist"] = row["compiled_ms"] / ours["step_ms"]
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "transformers": transformers.__version__,
              "command": " ".join(sys.argv), "rows": rows}
    if options.out:
        (options.out / "whisper-torch.json").write_text(json.dumps(report, indent=1) + "\n")
    print("| shape | batch | encoder ms | eager step ms | compiled step ms | diarist step ms | eager / diarist |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        compiled = f"{row['compiled_ms']:.3f}" if "compiled_ms" in row else row.get("compiled_error", "not run")[:40]
        ours = f"{row['diarist']['step_ms']:.3f}" if "diarist" in row else "not run"
        ratio = f"{row['eager_over_diarist']:.1f}" if "diarist" in row else ""
        print(f"| {row['shape']} | {row['batch']} | {row['encoder_ms']:.2f} | {row['eager_ms']:.3f} | {compiled} | {ours} | {ratio} |")


if __name__ == "__main__":
    main()
