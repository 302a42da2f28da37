"""WhisperX's alignment on a GPU: the network in torch, one segment at a time, then its trellis and backtrack.

    python3 align_torch.py --shape base --segments 120 --seconds 30 --device cuda --out DIR

The loop is that of WhisperX 3.8 (alignment.py): a forward pass of batch 1 in f32, log-softmax, a copy of the emissions to the host, a
trellis filled frame by frame with tensor operations, a backtrack in Python that reads a tensor for each frame, and merging of tokens.
Weights, samples and letters are random, since the times do not depend on them. transformers' Wav2Vec2ForCTC represents both kinds of
models that WhisperX loads.
"""

import argparse
import json
import pathlib
import statistics
import time

import torch
import transformers

SHAPES = {"base": (768, 12, 12, 3072, 512), "micro": (64, 2, 2, 128, 32)}
SAMPLE_RATE, LETTERS_PER_SECOND, CLASSES = 16000, 13, 29


def network(shape, device):
    width, layers, heads, inner, channels = SHAPES[shape]
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=CLASSES, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
        conv_dim=[channels] * 7)
    return transformers.Wav2Vec2ForCTC(config).eval().to(device)


def trellis(emission, tokens, blank=0):
    """[T + 1, N + 1] best log-probability of having emitted n tokens after t frames."""
    frames, count = emission.shape[0], len(tokens)
    best = torch.empty((frames + 1, count + 1))
    best[0, 0] = 0
    best[1:, 0] = torch.cumsum(emission[:, blank], 0)
    best[0, -count:] = -float("inf")
    best[-count:, 0] = float("inf")
    for t in range(frames):
        best[t + 1, 1:] = torch.maximum(best[t, 1:] + emission[t, blank], best[t, :-1] + emission[t, tokens])
    return best


def backtrack(best, emission, tokens, blank=0):
    """(token, frame, probability), last frame first; empty if there is no path."""
    j, path = best.size(1) - 1, []
    start = torch.argmax(best[:, j]).item()
    for t in range(start, 0, -1):
        stayed = best[t - 1, j] + emission[t - 1, blank]
        changed = best[t - 1, j - 1] + emission[t - 1, tokens[j - 1]]
        path.append((j - 1, t - 1, emission[t - 1, tokens[j - 1] if changed > stayed else 0].exp().item()))
        if changed > stayed:
            j -= 1
            if j == 0:
                return path
    return []


def merge(path):
    """(token, first frame, end frame, mean probability) of each token."""
    spans = []
    for token, frame, probability in reversed(path):
        if spans and spans[-1][0] == token:
            spans[-1][2].append(probability)
        else:
            spans.append((token, frame, [probability]))
    return [(token, frame, frame + len(scores), sum(scores) / len(scores)) for token, frame, scores in spans]


def run(model, clips, letters, device):
    """Seconds of the network, and of the path search after it."""
    network_seconds = search_seconds = 0.0
    for clip, tokens in zip(clips, letters):
        start = time.perf_counter()
        with torch.inference_mode():
            logits = model(clip.to(device).unsqueeze(0)).logits
            emission = torch.log_softmax(logits, dim=-1)[0].cpu()
        network_seconds += time.perf_counter() - start
        start = time.perf_counter()
        merge(backtrack(trellis(emission, tokens), emission, tokens))
        search_seconds += time.perf_counter() - start
    return network_seconds, search_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--segments", type=int, default=120)
    parser.add_argument("--seconds", type=int, default=30, help="of each segment")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=1, help="timed rounds after a warm-up of two segments")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args = parser.parse_args()
    model = network(args.shape, args.device)
    generator = torch.Generator().manual_seed(1)
    clips = [torch.randn(args.seconds * SAMPLE_RATE, generator=generator) for _ in range(args.segments)]
    letters = [torch.randint(1, CLASSES, (args.seconds * LETTERS_PER_SECOND,), generator=generator) for _ in clips]
    run(model, clips[:2], letters[:2], args.device)
    rounds = [run(model, clips, letters, args.device) for _ in range(args.repeats)]
    network_seconds, after = (statistics.median(r[i] for r in rounds) for i in (0, 1))
    audio = args.segments * args.seconds
    print("| loop | audio s | network s | trellis and backtrack s | x real time |\n|---|---|---|---|---|")
    print(f"| torch {torch.__version__} | {audio} | {network_seconds:.3f} | {after:.3f} | {audio / (network_seconds + after):.0f} |")
    result = {"shape": args.shape, "segments": args.segments, "seconds_each": args.seconds, "device": args.device,
              "torch": torch.__version__, "transformers": transformers.__version__, "rounds": rounds}
    (args.out / "align-torch.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
