"""Trains the built-in segmentation network: pyannote's PyanNet with a powerset head, on conversations composed on the fly.

    python train_segmentation.py --speakers DIR --natural DIR --dev DIR --out DIR --steps 1200 [--start FILE] [--seconds 5 10]

`--start`: weights with pyannote's keys to begin from, without it from scratch: safetensors, for instance pyannote/segmentation-3.0, or a
checkpoint (.bin), for instance pyannote/segmentation, whose scores of single speakers become scores of sets of them.
`--seconds`: how long the windows are; of several lengths each batch draws one.
The loss is pyannote's: the smallest cross-entropy over all orders of the speakers. The weights are exported as the mean over
the last fifth of the steps.
"""

import argparse
import itertools
import os
import random
import time

import numpy as np
import torch
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.segmentation import PyanNet
from safetensors.torch import load_file

import conversations
from windows import SAMPLE_RATE, noise_only

SECONDS, PEOPLE = 10.0, 3
CLASSES = ["speaker#1", "speaker#2", "speaker#3"]
SETS = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]  # of the powerset, in pyannote's order
ORDERS = list(itertools.permutations(range(PEOPLE)))


def network(start=None, seconds=SECONDS):
    model = PyanNet(lstm={"num_layers": 4})
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=seconds, classes=CLASSES,
        powerset_max_classes=2, permutation_invariant=True)
    model.build()
    if start:
        model.load_state_dict(load_file(start) if start.endswith(".safetensors") else of_single_speakers(start))
    return model


def of_single_speakers(path):
    """The weights of a network with a sigmoid for each speaker: that of a set of speakers is the sum of theirs.

    So its softmax gives what independent speakers would have, without the sets that cannot be named.
    """
    state = dict(torch.load(path, map_location="cpu", weights_only=False)["state_dict"])
    for key in ("classifier.weight", "classifier.bias"):
        single = state[key]
        state[key] = torch.stack([single[list(members)].sum(0) for members in SETS])
    return {key: tensor for key, tensor in state.items() if key.startswith(("sincnet", "lstm", "linear", "classifier"))}


def frame_times(model, seconds):
    """The middle of each frame in seconds."""
    frames = model.num_frames(int(seconds * SAMPLE_RATE))
    step = model.receptive_field_size(2) - model.receptive_field_size(1)
    return (np.arange(frames) * step + model.receptive_field_center(0)) / SAMPLE_RATE


def example(speakers, rng, times, seconds, alike=0.0):
    """(samples, activity [frames, 3])."""
    count = rng.choices([0, 1, 2, 3], [0.04, 0.2, 0.43, 0.33])[0]
    if count == 0:
        return noise_only(rng, seconds), np.zeros((len(times), PEOPLE), bool)
    people = speakers.draw(rng, count, alike=alike)
    window, turns = conversations.compose(speakers, rng, seconds, people, overlap=rng.choice([0.1, 0.3, 0.6]))
    active = np.zeros((len(times), PEOPLE), bool)
    active[:, :count] = conversations.activity(turns, count, times)
    return conversations.noisy(window, rng), active


def batch(speakers, rng, times, seconds, size, alike=0.0):
    made = [example(speakers, rng, times[seconds], seconds, alike) for _ in range(size)]
    return torch.from_numpy(np.stack([w for w, _ in made]))[:, None].float(), torch.from_numpy(np.stack([a for _, a in made]))


def class_of(active):
    """Powerset class of activity [..., 3], where at most two speak."""
    a, b, c = (active[..., i].long() for i in range(PEOPLE))
    code = a + 2 * b + 4 * c
    return torch.tensor([0, 1, 2, 4, 3, 5, 6, 4])[code]


def losses(scores, active):
    """Cross-entropy of each example in its best order, and the frames' classes in that order."""
    classes = torch.stack([class_of(active[..., list(order)]) for order in ORDERS])  # [orders, batch, frames]
    values = -scores[None].expand(len(ORDERS), -1, -1, -1).gather(-1, classes[..., None])[..., 0].mean(-1)
    best, order = values.min(0)
    return best, classes[order, torch.arange(len(order))]


def evaluate(model, data):
    """(loss, diarization error of windows by themselves)."""
    model.eval()
    sets = torch.zeros(len(SETS), PEOPLE, dtype=torch.bool)
    for i, members in enumerate(SETS):
        sets[i, list(members)] = True
    total, wrong, spoken = 0.0, 0, 0
    with torch.no_grad():
        for sound, active in data:
            scores = model(sound)
            best, classes = losses(scores, active)
            total += best.mean().item() / len(data)
            want, got = sets[classes], sets[scores.argmax(-1)]
            missed = (want.sum(-1) - (want & got).sum(-1))
            extra = (got.sum(-1) - (want & got).sum(-1))
            wrong += torch.maximum(missed, extra).sum().item()
            spoken += want.sum().item()
    model.train()
    return total, wrong / spoken


def main():
    parser = argparse.ArgumentParser()
    for name in ("speakers", "natural", "dev", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--start")
    parser.add_argument("--resume", help="a checkpoint of an earlier sitting")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seconds", type=float, nargs="+", default=[SECONDS])
    parser.add_argument("--batch", type=float, default=120, help="seconds of sound of a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--alike", type=float, default=0.0, help="how often the synthetic voices of a window resemble each other")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train-filters", action="store_true", help="SincNet too; it stays as it is otherwise")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    os.makedirs(options.out, exist_ok=True)
    model = network(options.start)
    if options.resume:
        model.load_state_dict(torch.load(options.resume))
    times = {seconds: frame_times(model, seconds) for seconds in options.seconds}
    speakers = conversations.Speakers([options.speakers], options.natural)
    dev_rng = random.Random(0)
    dev_speakers = conversations.Speakers([options.dev])
    dev = {seconds: [batch(dev_speakers, dev_rng, times, seconds, int(80 / seconds)) for _ in range(6)] for seconds in times}

    def report(name):
        for seconds, data in dev.items():
            print(name, f"{seconds:g} s:", "loss %.4f, error %.4f" % evaluate(model, data), flush=True)

    report("start")
    if not options.train_filters:
        for parameter in model.sincnet.parameters():
            parameter.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.rate, weight_decay=1e-4)
    rng, mean, kept, recent, begun = random.Random(options.seed), None, 0, [], time.time()
    for step in range(1, options.steps + 1):
        share = step / options.steps
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, step / 30) * (0.5 + 0.5 * np.cos(np.pi * share)) + options.rate * 0.02
        seconds = rng.choice(options.seconds)
        sound, active = batch(speakers, rng, times, seconds, int(options.batch / seconds), options.alike)
        loss = losses(model(sound), active)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        recent.append(loss.item())
        if share > 0.8:
            state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            mean = state if mean is None else {k: v + state[k] for k, v in mean.items()}
            kept += 1
        if step % 20 == 0:
            print(f"{step} {np.mean(recent[-20:]):.4f} {(time.time() - begun) / step:.2f} s", flush=True)
        if step % 100 == 0 or step == options.steps:
            speakers = conversations.Speakers([options.speakers], options.natural)  # the corpus may be growing
            torch.save(model.state_dict(), os.path.join(options.out, "checkpoint.pt"))
            report(f"dev {step}")
    if mean is not None:
        model.load_state_dict({k: v / kept for k, v in mean.items()})
        torch.save(model.state_dict(), os.path.join(options.out, "mean.pt"))
        report("dev mean")


if __name__ == "__main__":
    main()
