"""pyannote's loop over the diarization networks on a GPU: plain torch modules in f32, TF32 off.

    python3 diarize_torch.py --hours 1 --device cuda --out DIR

The loops are those of pyannote.audio 4. Segmentation (PyanNet): windows of ten seconds with a hop of one second, batches of 32, scores
copied to the host. Embedding (WeSpeaker's ResNet34): the samples of every window pass through Kaldi's features and the whole network once
for each of its three speakers, in batches of 32, with the speaker's mask in the pooling. Weights, samples and masks are random, since the
times do not depend on them. pyannote's SincNet computes its filters from cutoffs for each batch; here they are constant.
"""

import argparse
import json
import math
import pathlib
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

SAMPLE_RATE, STEP, SPEAKERS, BATCH = 16000, 16000, 3, 32
# seconds of a window, LSTM layers, channels, residual blocks, dimension of the embedding
SHAPES = {"pyannote": (10.0, 4, 32, (3, 4, 6, 3), 256), "pyannote-micro": (0.3, 1, 16, (1, 1, 1, 1), 32)}


class PyanNet(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.wave_norm = nn.InstanceNorm1d(1, affine=True)
        convolutions = [nn.Conv1d(1, 80, 251, stride=10, bias=False), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)]
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.InstanceNorm1d(width, affine=True) for width in (80, 60, 60))
        self.lstm = nn.LSTM(60, 128, layers, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, 7)

    def forward(self, samples):
        x = self.wave_norm(samples)
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            x = convolution(x)
            x = torch.abs(x) if i == 0 else x
            x = functional.leaky_relu(norm(functional.max_pool1d(x, 3)))
        x, _ = self.lstm(x.transpose(1, 2))
        for linear in self.linear:
            x = functional.leaky_relu(linear(x))
        return functional.log_softmax(self.classifier(x), dim=-1)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet34(nn.Module):
    def __init__(self, channels, blocks, voice):
        super().__init__()
        layers, inputs = [nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()], channels
        for stage, count in enumerate(blocks):
            for block in range(count):
                layers.append(Block(inputs, channels << stage, 2 if stage and not block else 1))
                inputs = channels << stage
        self.trunk = nn.Sequential(*layers)
        self.last = nn.Linear(2 * 10 * inputs, voice)
        self.register_buffer("taper", torch.hamming_window(400, periodic=False))
        self.register_buffer("filters", mel_filters(80))

    def features(self, samples):
        """Kaldi's features with the mean of each band subtracted: [B, S] to [B, 80, T]."""
        frames = (samples * 32768).unfold(1, 400, 160)
        frames = frames - frames.mean(2, keepdim=True)
        before = functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
        power = torch.fft.rfft((frames - 0.97 * before) * self.taper, 512).abs().pow(2)
        energies = (power @ self.filters).clamp_min(torch.finfo(torch.float32).eps).log()
        return (energies - energies.mean(1, keepdim=True)).transpose(1, 2)

    def forward(self, samples, masks):
        x = self.trunk(self.features(samples).unsqueeze(1)).flatten(1, 2)
        w = functional.interpolate(masks.unsqueeze(1), x.shape[-1], mode="nearest")
        total = w.sum(2) + 1e-8
        mean = (x * w).sum(2) / total
        spread = ((x - mean.unsqueeze(2)).square() * w).sum(2) / (total - w.square().sum(2) / total + 1e-8)
        return self.last(torch.cat([mean, spread.sqrt()], 1))


def mel_filters(bands):
    """Triangular mel filters from 20 Hz up: [257, bands]."""
    mel = lambda hz: 1127 * math.log(1 + hz / 700)
    low, step = mel(20), (mel(8000) - mel(20)) / (bands + 1)
    at = torch.tensor([mel(bin * 31.25) for bin in range(256)] + [-1e9]).unsqueeze(1)
    left = low + step * torch.arange(bands)
    return torch.minimum((at - left) / step, (left + 2 * step - at) / step).clamp_min(0)


def batches(count):
    return (range(first, min(first + BATCH, count)) for first in range(0, count, BATCH))


@torch.inference_mode()
def segment(network, samples, window, windows, device):
    for batch in batches(windows):
        clips = torch.stack([samples[i * STEP:i * STEP + window] for i in batch]).unsqueeze(1)
        network(clips.to(device)).cpu()


@torch.inference_mode()
def embed(network, samples, masks, window, windows, device):
    for batch in batches(windows * SPEAKERS):
        clips = torch.stack([samples[i // SPEAKERS * STEP:i // SPEAKERS * STEP + window] for i in batch])
        network(clips.to(device), masks[list(batch)].to(device)).cpu()


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="pyannote")
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=1, help="timed rounds after a warm-up of one batch")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    seconds, layers, channels, blocks, voice = SHAPES[args.shape]
    window, samples = int(seconds * SAMPLE_RATE), torch.randn(int(args.hours * 3600 * SAMPLE_RATE)) * 0.1
    windows = (len(samples) - window) // STEP + 1
    masks = (torch.rand(windows * SPEAKERS, 589) < 0.4).float()
    segmentation = PyanNet(layers).eval().to(args.device)
    embedding = ResNet34(channels, blocks, voice).eval().to(args.device)
    loops = {
        "segmentation": lambda count: segment(segmentation, samples, window, count, args.device),
        "embedding": lambda count: embed(embedding, samples, masks, window, count, args.device),
    }
    for loop in loops.values():
        loop(min(windows, BATCH))
    rounds = [{name: timed(lambda: loop(windows)) for name, loop in loops.items()} for _ in range(args.repeats)]
    result = {f"{name}_seconds": statistics.median(r[name] for r in rounds) for name in loops}
    print("| loop | windows | segmentation s | embedding s | x real time |\n|---|---|---|---|---|")
    total = sum(result.values())
    print(f"| torch {torch.__version__} | {windows} | {result['segmentation_seconds']:.3f} | {result['embedding_seconds']:.3f} "
          f"| {len(samples) / SAMPLE_RATE / total:.1f} |")
    result |= {"shape": args.shape, "windows": windows, "speakers": SPEAKERS, "device": args.device, "torch": torch.__version__,
               "rounds": rounds}
    (args.out / "diarize-torch.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
