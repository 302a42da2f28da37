"""Benchmark of Whisper in transformers and diarist: the same shape, the same fixed number of tokens, one run.

    python benches/peers/whisper_torch.py --diarist target/release/diarist-bench --shape large-v2 --out DIR

Weights are random (the speed does not depend on their values as long as no text ends early). Peers: eager with SDPA, and a static
cache with the decoder step compiled into CUDA graphs; f16 on a GPU, f32 on the CPU (`--device cpu`, for a trial run of this
script). Timed are the encoding of a batch, and the mean decode step over `--tokens` steps, including the prompt pass. Medians of
`--repeats` runs after a warm-up, measured with CUDA events on a GPU. A peer that fails, or does not generate the requested number of
tokens, has an error in the report instead of a time, and the exit status is 1.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

# width, heads, encoder layers, decoder layers, mel bins, vocabulary, encoder frames: the published config.json files, and
# diarist-bench's own "micro"
SHAPES = {
    "micro": (64, 1, 2, 2, 80, 51865, 100),
    "tiny": (384, 6, 4, 4, 80, 51865, 1500),
    "base": (512, 8, 6, 6, 80, 51865, 1500),
    "small": (768, 12, 12, 12, 80, 51865, 1500),
    "medium": (1024, 16, 24, 24, 80, 51865, 1500),
    "large-v2": (1280, 20, 32, 32, 80, 51865, 1500),
    "large-v3": (1280, 20, 32, 32, 128, 51866, 1500),
    "turbo": (1280, 20, 32, 4, 128, 51866, 1500),
}
PROMPT, START = 4, 50258


class Machine:
    """The device of the peers, and its timer."""

    def __init__(self, device):
        import torch

        self.device = device
        self.dtype = torch.float16 if device.startswith("cuda") else torch.float32

    def name(self):
        import torch

        return torch.cuda.get_device_name() if self.dtype == torch.float16 else f"cpu, {torch.get_num_threads()} threads"

    def milliseconds(self, run, repeats):
        """Median time of `run`, after one warm-up."""
        times = [self.once(run) for _ in range(repeats + 1)]
        return statistics.median(times[1:])

    def once(self, run):
        import torch

        if self.dtype != torch.float16:
            start = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - start)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)


def build(machine, shape):
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    width, heads, encoder_layers, decoder_layers, mels, vocab, frames = SHAPES[shape]
    config = WhisperConfig(vocab_size=vocab, num_mel_bins=mels, d_model=width, encoder_attention_heads=heads,
                           decoder_attention_heads=heads, encoder_layers=encoder_layers, decoder_layers=decoder_layers,
                           encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, max_source_positions=frames,
                           max_target_positions=448, attn_implementation="sdpa")
    torch.manual_seed(0)
    with torch.device(machine.device):
        torch.set_default_dtype(machine.dtype)
        try:
            model = WhisperForConditionalGeneration(config)
        finally:
            torch.set_default_dtype(torch.float32)
    assert model.config._attn_implementation == "sdpa" and model.dtype == machine.dtype
    return model.eval()


def features(machine, model, batch):
    """Random features, the same for every peer."""
    import torch

    shape = (batch, model.config.num_mel_bins, 2 * model.config.max_source_positions)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(batch))
    return values.to(dtype=machine.dtype, device=machine.device)


def encoder(machine, model, batch, repeats):
    mel = features(machine, model, batch)
    return machine.milliseconds(lambda: model.model.encoder(mel), repeats)


def prompt(machine, batch):
    import torch

    return torch.full((batch, PROMPT), START, device=machine.device)


def eager_step(machine, model, batch, tokens, repeats):
    """Mean greedy decode step with a growing cache, all on the device; and the logits of the last step."""
    from transformers import DynamicCache, EncoderDecoderCache

    encoded = model.model.encoder(features(machine, model, batch)).last_hidden_state
    first = prompt(machine, batch)

    def run():
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = first
        for _ in range(tokens):
            hidden = model.model.decoder(input_ids=ids, encoder_hidden_states=encoded, past_key_values=cache, use_cache=True)
            logits = model.proj_out(hidden.last_hidden_state[:, -1:])
            ids = logits.argmax(-1)
        if cache.get_seq_length() != PROMPT + tokens - 1:
            raise RuntimeError(f"the cache has {cache.get_seq_length()} positions")
        return logits

    return machine.milliseconds(run, repeats) / tokens, run().float()


def compiled_step(machine, model, batch, tokens, repeats):
    """Mean decode step with a static cache and a compiled step, as in transformers' documentation: fixed shapes of the cache and the
    positions, one token at a time."""
    import torch
    from transformers import EncoderDecoderCache, StaticCache

    encoded = model.model.encoder(features(machine, model, batch)).last_hidden_state
    first = prompt(machine, batch)
    length = PROMPT + tokens

    def static(positions):
        return StaticCache(config=model.config, max_cache_len=positions)

    cache = EncoderDecoderCache(static(length), static(model.config.max_source_positions))

    def forward(ids, positions):
        hidden = model.model.decoder(input_ids=ids, encoder_hidden_states=encoded, past_key_values=cache, use_cache=True,
                                     cache_position=positions, position_ids=positions[None])
        logits = model.proj_out(hidden.last_hidden_state[:, -1:])
        return logits.argmax(-1), logits

    mode = "reduce-overhead" if machine.dtype == torch.float16 else "default"
    step = torch.compile(forward, mode=mode, fullgraph=True)
    positions = torch.arange(length, device=machine.device)

    def run():
        cache.reset()
        ids, logits = forward(first, positions[:PROMPT])
        for at in range(PROMPT, length - 1):
            torch.compiler.cudagraph_mark_step_begin()
            ids, logits = step(ids, positions[at:at + 1])
            ids = ids.clone()
        return logits

    run()  # compiles
    return machine.milliseconds(run, repeats) / tokens, run().float()


def diarist(machine, command, shape, batch, tokens, repeats):
    arguments = [command, "--shape", shape, "--device", "cuda" if machine.device.startswith("cuda") else "cpu", "--batch", str(batch),
                 "--chunks", str(batch), "--tokens", str(tokens), "--stage", "encode", "--stage", "decode", "--runs", str(repeats),
                 "--json"]
    if machine.device == "cpu":
        arguments += ["--scale", "4000"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"diarist-bench: exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def attempt(row, name, measure):
    """Stores the time of a peer in `row`, or its error. Returns its result."""
    try:
        row[f"{name}_ms"], result = measure()
        return result
    except Exception as error:  # a peer that does not run is reported, not hidden
        row[f"{name}_error"] = f"{type(error).__name__}: {error}"[:400]


def agree(row, want, got):
    """Compares the logits of the eager and the compiled step; discards the compiled time if they differ."""
    if want is None or got is None:
        return
    row["compiled_difference"] = float((got - want).norm() / want.norm())
    if not row["compiled_difference"] <= 0.05:
        row["compiled_error"] = f"the logits of the last step are {row['compiled_difference']} off those of eager"
        del row["compiled_ms"]


def peers(machine, options):
    import torch

    rows = []
    for shape in options.shape or ["large-v2", "turbo"]:
        for batch in options.batches:
            model = build(machine, shape)
            row = {"shape": shape, "batch": batch}
            attempt(row, "encoder", lambda: (encoder(machine, model, batch, options.repeats), None))
            want = attempt(row, "eager", lambda: eager_step(machine, model, batch, options.tokens, options.repeats))
            if not options.no_compile:
                got = attempt(row, "compiled", lambda: compiled_step(machine, model, batch, options.tokens, options.repeats))
                agree(row, want, got)
            rows.append(row)
            del model
            torch._dynamo.reset()
            if machine.device.startswith("cuda"):
                torch.cuda.empty_cache()
    return rows


def ratios(row, ours):
    """Adds the ratios of the peers' times to diarist's. diarist's encoder time is scaled from its own encoder batch."""
    clips = int(next(s["unit"] for s in ours["stages"] if s["name"] == "encode").split()[0])
    row["diarist"] = ours
    row["diarist_encoder_ms"] = ours["encoder_ms"] * row["batch"] / clips
    for peer, mine in [("encoder", row["diarist_encoder_ms"]), ("eager", ours["step_ms"]), ("compiled", ours["step_ms"])]:
        if f"{peer}_ms" in row:
            row[f"{peer}_over_diarist"] = row[f"{peer}_ms"] / mine


def table(rows):
    cell = lambda row, key, digits: f"{row[key]:.{digits}f}" if key in row else "-"
    print("| shape | batch | encoder ms | diarist | ratio | eager step ms | compiled | diarist | eager / diarist | compiled / diarist |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        step = f"{row['diarist']['step_ms']:.3f}" if "diarist" in row else "-"
        cells = [row["shape"], str(row["batch"]), cell(row, "encoder_ms", 2), cell(row, "diarist_encoder_ms", 2),
                 cell(row, "encoder_over_diarist", 2), cell(row, "eager_ms", 3), cell(row, "compiled_ms", 3), step,
                 cell(row, "eager_over_diarist", 1), cell(row, "compiled_over_diarist", 1)]
        print("| " + " | ".join(cells) + " |")
    for row in rows:
        for key in row:
            if key.endswith("_error"):
                print(f"{row['shape']} {row['batch']} {key}: {row[key]}", file=sys.stderr)


def command():
    """The command line, without the path of diarist-bench and the output folder."""
    words = iter(sys.argv[1:])
    return " ".join(["whisper_torch.py"] + [word for word in words if word not in ("--diarist", "--out") or not next(words, "")])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--diarist", help="the command that starts diarist-bench")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()

    import torch
    import transformers

    machine = Machine(options.device)
    with torch.inference_mode():
        rows = peers(machine, options)
    if options.diarist:
        for row in rows:
            try:
                ratios(row, diarist(machine, options.diarist, row["shape"], row["batch"], options.tokens, options.repeats))
            except Exception as error:
                row["diarist_error"] = f"{type(error).__name__}: {error}"[:400]
    report = {"device": machine.name(), "torch": torch.__version__, "transformers": transformers.__version__,
              "command": command(), "rows": rows}
    if options.out:
        (options.out / "whisper-torch.json").write_text(json.dumps(report, indent=1) + "\n")
    table(rows)
    return 1 if any(key.endswith("_error") for row in rows for key in row) else 0


if __name__ == "__main__":
    sys.exit(main())
