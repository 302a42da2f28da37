"""Trains the built-in speaker embedding: WeSpeaker's ResNet, narrow, on the speakers of composed conversations.

    python train_embedding.py --speakers DIR --natural DIR --dev DIR --out DIR --steps 2000 [--teacher pretrained.pt]

An example is what the pipeline will ask for: a crop of a window (`--seconds`) in which others speak too, its filterbank centred
over the whole window, and a mask that leaves the frames where one speaker is alone. The classes are speakers; those with a
single recording stand in at three speeds, each a speaker of its own. Loss: additive angular margin, and with `--teacher`, a
voice encoder of Resemblyzer's layout, also the angle between an embedding and what the teacher makes of the speaker's clean
sentences, projected on the embedding's dimensions: a few hundred people are too few to learn from labels alone. `--pull-synthetic`
is the weight of that angle for voices nobody has: the teacher knows people, and takes many of a synthesiser's voices for one.

A second process makes the examples, a third of the time of a step.
"""

import argparse
import multiprocessing
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock, ResNet
from safetensors.torch import load_file

import conversations
from windows import SAMPLE_RATE

SPEEDS = {"recording": (0.87, 1.0, 1.15), "natural": (0.9, 1.0, 1.1), "revoiced": (1.0,), "espeak-ng": (1.0,)}
SECONDS = 10.0
WIDTH, BLOCKS, DIMENSION = 16, [2, 2, 2, 2], 128
FEWEST = 40  # fbank frames of a speaker alone: fewer make no example
SCALE, MARGIN = 30.0, 0.2
NEAREST, AWAY = 5, 0.06  # so many other classes, the nearest, count as nearer by this angle
OFTEN = {"recording": 3, "revoiced": 4, "espeak-ng": 3, "natural": 1}  # how often a kind of speaker is drawn


class Embedding(BaseWeSpeakerResNet):
    """pyannote's module around a narrower trunk."""

    def __init__(self):
        super().__init__()
        self.resnet = ResNet(BasicBlock, BLOCKS, m_channels=WIDTH, feat_dim=80, embed_dim=DIMENSION, two_emb_layer=False)


class Teacher(torch.nn.Module):
    """Resemblyzer's voice encoder (Apache-2.0): three LSTM layers over 40 mels, 1.6 s at a time."""

    def __init__(self, path):
        import torchaudio
        super().__init__()
        self.lstm, self.linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({k: v for k, v in state.items() if k.startswith(("lstm", "linear"))})
        self.mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, 400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney")

    @torch.no_grad()
    def forward(self, audio):
        """The mean over pieces of 1.6 s, half overlapping: [256]."""
        audio = audio * (10 ** (-30 / 20) / (np.sqrt(np.mean(audio ** 2)) + 1e-9))
        audio = np.pad(audio, (0, max(0, 26000 - len(audio))))
        mel = self.mel(torch.from_numpy(audio.astype(np.float32))).T
        pieces = torch.stack([mel[i:i + 160] for i in range(0, len(mel) - 159, 80)])
        return F.normalize(torch.relu(self.linear(self.lstm(pieces)[1][0][-1])), dim=1).mean(0)


def pooled(trunk, mask):
    """pyannote's masked mean and deviation of [batch, channels, mels, frames], with a slope where nothing varies."""
    weights = F.interpolate(mask[:, None], size=trunk.shape[-1], mode="nearest")
    flat = trunk.flatten(1, 2)
    sum_of = weights.sum(2) + 1e-8
    mean = (flat * weights).sum(2) / sum_of
    square = (weights ** 2).sum(2)
    variance = ((flat - mean[..., None]) ** 2 * weights).sum(2) / (sum_of - square / sum_of + 1e-8)
    return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], 1)


def has_bf16():
    """Whether the processor multiplies bf16; where it does not, a step in bf16 takes ten times as long as one in f32."""
    with open("/proc/cpuinfo") as file:
        return "avx512_bf16" in file.read()


def begun(folder):
    """The weights of a folder that `export_diarization.py` wrote, widened to f32."""
    state = load_file(os.path.join(folder, "embedding", "model.safetensors"))
    return {key: tensor.float() for key, tensor in state.items()}


@torch.no_grad()
def prototypes(model, speakers, classes):
    """What the network makes of clean speech of each class: where the classifier of a network begins that was taught before."""
    model.eval()
    found = [model(torch.from_numpy(clean(speakers, *c, seconds=3).astype(np.float32))[None, None])[0] for c in classes]
    model.train()
    return F.normalize(torch.stack(found), dim=1)


def classes_of(speakers):
    return [(name, speed) for kind, names in speakers.kinds.items() for name in names for speed in SPEEDS[kind]]


def clean(speakers, name, speed, seconds=10):
    """Speech of a speaker without the silence around it."""
    pieces, rows = [], speakers.rows[name]
    for row in rows[:8]:
        audio = conversations.resampled(conversations.samples_of(row), speed)
        pieces += [audio[int(s * speed * SAMPLE_RATE):int(e * speed * SAMPLE_RATE)] for _, s, e in row["words"]]
        if sum(map(len, pieces)) > seconds * SAMPLE_RATE:
            break
    audio = np.concatenate(pieces)[:int(seconds * SAMPLE_RATE)]
    return audio / (np.abs(audio).max() + 1e-9)


def taught(path, speakers, classes, frame=None):
    """What the teacher says of each class, centred and on its first principal axes: [classes, DIMENSION].

    `frame`, centre and axes, is that of an earlier sitting; it is returned too.
    """
    teacher = Teacher(path).eval()
    vectors = torch.stack([teacher(clean(speakers, *c)) for c in classes])  # some 40 ms each
    centre = vectors.mean(0) if frame is None else frame[0]
    vectors = F.normalize(vectors - centre, dim=1)
    axes = torch.linalg.svd(vectors, full_matrices=False)[2][:DIMENSION].clone() if frame is None else frame[1]
    return F.normalize(vectors @ axes.T, dim=1), (centre, axes)


class Examples:
    def __init__(self, speakers, classes, model, seconds, rng):
        self.speakers, self.model, self.seconds, self.rng = speakers, model, seconds, rng
        self.index = {c: i for i, c in enumerate(classes)}
        self.speeds = {}
        for name, speed in classes:
            self.speeds.setdefault(name, []).append(speed)

    def window(self):
        """(fbank [frames, 80], alone [frames, people], classes)."""
        rng = self.rng
        count = rng.choices([1, 2, 3], [0.35, 0.45, 0.2])[0]
        people = self.speakers.draw(rng, count, OFTEN)
        chosen = [(name, rng.choice(self.speeds[name])) for name in people]
        sound, turns = conversations.compose(self.speakers, rng, self.seconds, people, overlap=rng.choice([0.05, 0.3]),
                                             factors=[speed for _, speed in chosen])
        times = np.arange(int((self.seconds - 0.025) * 100) + 1) * 0.01 + 0.0125
        active = conversations.activity(turns, count, times)
        alone = active & (active.sum(1, keepdims=True) == 1)
        fbank = self.model.compute_fbank(torch.from_numpy(conversations.noisy(sound, rng).astype(np.float32))[None, None])[0]
        return fbank, alone, [self.index[c] for c in chosen]

    def batch(self, size, frames):
        """(fbank [size, frames, 80], mask [size, frames], class [size])."""
        crops, masks, labels = [], [], []
        while len(crops) < size:
            fbank, alone, classes = self.window()
            for i, label in enumerate(classes):
                heard = np.convolve(alone[:, i], np.ones(frames), "valid")
                wanted = max(FEWEST, heard.max() * self.rng.uniform(0.5, 1))
                places = np.flatnonzero(heard >= wanted)
                if len(places) and len(crops) < size:
                    at = int(self.rng.choice(places))
                    crops.append(fbank[at:at + frames])
                    masks.append(torch.from_numpy(alone[at:at + frames, i]).float())
                    labels.append(label)
        return torch.stack(crops), torch.stack(masks), torch.tensor(labels)


def stream(examples, size, frames):
    """Batches that another process makes, up to four of them ahead."""
    context = multiprocessing.get_context("fork")
    ahead = context.Queue(4)

    def make():
        torch.set_num_threads(1)
        while True:
            ahead.put([tensor.numpy() for tensor in examples.batch(size, frames)])

    context.Process(target=make, daemon=True).start()
    while True:
        yield [torch.from_numpy(array) for array in ahead.get()]


def equal_error(model, speakers, seconds=4.0):
    """{kind: equal error rate} over all pairs of sentences of a kind, at most `seconds` of each, as recorded."""
    rates = {}
    for kind, names in speakers.kinds.items():
        found, labels = [], []
        for label, name in enumerate(names):
            for row in speakers.rows[name][:10]:
                audio = conversations.samples_of(row)
                begin = int(row["words"][0][1] * SAMPLE_RATE)
                audio = audio[begin:min(begin + int(seconds * SAMPLE_RATE), int(row["words"][-1][2] * SAMPLE_RATE))]
                if len(audio) > SAMPLE_RATE // 2:
                    with torch.no_grad():
                        found.append(F.normalize(model(torch.from_numpy(audio)[None, None])[0], dim=0))
                    labels.append(label)
        if len(set(labels)) > 1:
            found, labels = torch.stack(found), torch.tensor(labels)
            one, other = torch.triu_indices(len(labels), len(labels), 1)
            scores, same = (found[one] * found[other]).sum(1), labels[one] == labels[other]
            order = scores.argsort(descending=True)
            accepted = same[order].cumsum(0) / same.sum(), (~same[order]).cumsum(0) / (~same).sum()
            at = int((1 - accepted[0] - accepted[1]).abs().argmin())
            rates[kind] = round(float(1 - accepted[0][at] + accepted[1][at]) / 2, 4)
    return rates


def margin_loss(cosines, labels, margin):
    """Additive angular margin softmax, with a penalty for the nearest other classes (inter-top-k, Zhao et al. 2021)."""
    cosines = cosines.clamp(-1 + 1e-6, 1 - 1e-6)
    own, index = cosines.gather(1, labels[:, None]), labels[:, None]
    near = cosines.detach().scatter(1, index, -2.0).topk(NEAREST, dim=1).indices
    nearer = torch.cos((torch.acos(cosines.gather(1, near)) - AWAY).clamp(min=0))
    moved = torch.cos(torch.acos(own) + margin)
    return F.cross_entropy(SCALE * cosines.scatter(1, near, nearer).scatter(1, index, moved), labels)


def main():
    parser = argparse.ArgumentParser()
    for name in ("speakers", "natural", "dev", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--teacher")
    parser.add_argument("--resume", help="a checkpoint of an earlier sitting, with its classifier")
    parser.add_argument("--begin", help="a folder like assets/diarization: weights without a classifier")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a window, as the pipeline will have them")
    parser.add_argument("--frames", type=int, default=200, help="of a crop")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--end", type=float, default=0.01, help="of the rate, at the last step")
    parser.add_argument("--pull", type=float, default=5.0, help="weight of the teacher's angle")
    parser.add_argument("--pull-synthetic", type=float, default=5.0, help="the same for voices of synthesisers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    os.makedirs(options.out, exist_ok=True)
    speakers = conversations.Speakers([options.speakers], options.natural)
    dev = conversations.Speakers([options.dev])
    classes = classes_of(speakers)
    model, centres = Embedding().to(memory_format=torch.channels_last), torch.nn.Parameter(F.normalize(torch.randn(len(classes), DIMENSION), dim=1))
    state = torch.load(options.resume) if options.resume else {}
    targets = frame = None
    if options.teacher:
        targets, frame = taught(options.teacher, speakers, classes, state.get("frame"))
        centres.data.copy_(targets)
    if options.resume:
        model.load_state_dict(state["model"])
        known = dict(zip(state["classes"], state["centres"]))
        new = [c for c in classes if c not in known]
        known.update(zip(new, prototypes(model, speakers, new)) if new else [])
        centres.data.copy_(torch.stack([known[c] for c in classes]))
    elif options.begin:
        model.load_state_dict(begun(options.begin), strict=False)
        centres.data.copy_(prototypes(model, speakers, classes))
    print(len(classes), "classes", sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    optimizer = torch.optim.AdamW([{"params": model.parameters()}, {"params": [centres], "weight_decay": 0.0}],
                                  lr=options.rate, weight_decay=1e-3)
    people = set(speakers.kinds["recording"])
    pull = torch.tensor([options.pull if name in people else options.pull_synthetic for name, _ in classes])
    batches = stream(Examples(speakers, classes, model, options.seconds, random.Random(options.seed)), options.batch, options.frames)

    def save(name):
        path = os.path.join(options.out, name)
        torch.save({"model": model.state_dict(), "centres": centres.data, "classes": classes, "frame": frame}, path + ".part")
        os.replace(path + ".part", path)

    mean, kept, recent, started, fast = None, 0, [], time.time(), has_bf16()
    for step in range(1, options.steps + 1):
        share = step / options.steps
        for group in optimizer.param_groups:
            fall = options.end + (1 - options.end) * (0.5 + 0.5 * np.cos(np.pi * share))
            group["lr"] = options.rate * min(1, step / 50) * fall
        fbank, mask, labels = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            trunk = model.resnet.forward_frames(fbank)
        made = F.normalize(model.resnet.seg_1(pooled(trunk.float(), mask)), dim=1)
        cosines = made @ F.normalize(centres, dim=1).T
        loss = margin_loss(cosines, labels, MARGIN * (1 if options.resume or options.begin else min(1, 2 * share)))
        angle = (made * targets[labels]).sum(1) if targets is not None else torch.zeros(len(labels))
        optimizer.zero_grad()
        (loss - (pull[labels] * angle).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        recent.append((loss.item(), angle.mean().item(), (cosines.argmax(1) == labels).float().mean().item()))
        if share > 0.85:
            state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            mean = state if mean is None else {k: v + state[k] for k, v in mean.items()}
            kept += 1
        if step % 20 == 0:
            print(step, *np.round(np.mean(recent[-20:], axis=0), 4), f"{(time.time() - started) / step:.2f} s", flush=True)
        if step % 100 == 0 or step == options.steps:
            save("checkpoint.pt")
            model.eval()
            print("dev", step, equal_error(model, dev), flush=True)
            model.train()
    model.load_state_dict({k: (v / kept).to(v.dtype) if v.is_floating_point() else v // kept for k, v in mean.items()})
    save("mean.pt")
    model.eval()
    print("dev mean", equal_error(model, dev), flush=True)


if __name__ == "__main__":
    main()
