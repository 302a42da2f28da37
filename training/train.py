"""Trains the built-in recogniser.

    python train.py --corpus DIR --dev DIR --tokenizer FILE --out DIR --minutes 100

The schedule runs on the clock, because the machine it is made for has two cores and other work: stages and learning rate
depend on the part of `--minutes` that has passed. `--steps` bounds it by steps instead, which is what to use for a
repeatable run. A checkpoint is written every few minutes; `--resume` continues from the last.
"""

import argparse
import json
import math
import multiprocessing
import os
import time

import torch
import torch.nn.functional as F

from batches import FRAME, IGNORE, Batches
from evaluate import dev_error
from model import Config, Model
from tokenizer import Tokens

STAGE_UNTIL = [0.30, 0.60, 1.01]  # part of the run at which each entry of Batches.STAGES ends
PEAK_RATE, WARM_UP = 1e-3, 200
SMOOTHING = 0.1
AVERAGED = 0.85  # weights are averaged from this part of the run on


def losses(model, batch, first):
    """Token, phone-frame and attention-guide losses."""
    source = model.encoder(batch["mel"], first)
    logits, seen = model.decoder(batch["inputs"], source)
    token_loss = F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORE,
                                 label_smoothing=SMOOTHING)
    phone_logits = model.phone_head(source)
    phone_loss = F.cross_entropy(phone_logits.flatten(0, 1), batch["phones"].flatten())
    guide_loss = guide(seen, batch["spans"])
    with torch.no_grad():
        wanted = batch["targets"] != IGNORE
        token_hits = (logits.argmax(-1) == batch["targets"])[wanted].float().mean()
        phone_hits = (phone_logits.argmax(-1) == batch["phones"])[batch["phones"] > 0].float().mean()
    return token_loss, phone_loss, guide_loss, token_hits, phone_hits


def guide(seen, spans):
    """Minus the log of the attention [B, L, T] that falls on the word being written, a frame of grace on either side."""
    centre = (torch.arange(seen.shape[-1]) + 0.5) * FRAME
    inside = (centre >= spans[..., :1] - 2 * FRAME) & (centre <= spans[..., 1:] + 2 * FRAME)
    heard = spans[..., 1] > 0
    mass = (seen * inside).sum(-1)[heard]
    return -(mass + 1e-4).log().mean() if len(mass) else seen.sum() * 0


class Run:
    """State of a training run: model, optimiser, averaged weights, progress."""

    def __init__(self, options):
        self.options = options
        self.tokens = Tokens(options.tokenizer)
        torch.manual_seed(options.seed)
        self.model = Model(Config(self.tokens.size))
        decayed = [p for p in self.model.parameters() if p.requires_grad and p.dim() > 1]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.dim() == 1]
        self.optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02},
                                            {"params": plain, "weight_decay": 0.0}], lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
        self.step, self.spent, self.windows, self.averages, self.mean = 0, 0.0, 0, 0, None
        self.path = os.path.join(options.out, "checkpoint.pt")
        if options.resume and os.path.exists(self.path):
            saved = torch.load(self.path)
            self.model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step, self.spent, self.windows = saved["step"], saved["spent"], saved["windows"]
            self.averages, self.mean = saved["averages"], saved["mean"]

    def progress(self):
        if self.options.steps:
            return self.step / self.options.steps
        return self.spent / (60 * self.options.minutes)

    def rate(self):
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))
        return PEAK_RATE * min(1.0, (self.step + 1) / WARM_UP) * (0.02 + 0.98 * decay)

    def average(self):
        """Running mean of the weights over the tail of the run, one sample every ten steps."""
        if self.progress() < AVERAGED or self.step % 10:
            return
        state = self.model.state_dict()
        if self.mean is None:
            self.mean = {k: v.clone() for k, v in state.items()}
        self.averages += 1
        for key, value in state.items():
            self.mean[key] += (value - self.mean[key]) / self.averages

    def save(self):
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step,
                 "spent": self.spent, "windows": self.windows, "averages": self.averages, "mean": self.mean}
        torch.save(state, self.path + ".part")
        os.replace(self.path + ".part", self.path)


def train(run, log):
    options, stage = run.options, multiprocessing.Value("i", 0)
    batches = Batches(options.corpus, options.tokenizer, stage, f"{options.seed}-{run.step}")
    loader = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=options.workers, prefetch_factor=4))
    last_save = last_dev = time.time()
    sums, started = [], time.time()
    while run.progress() < 1:
        stage.value = next(i for i, until in enumerate(STAGE_UNTIL) if run.progress() < until)
        batch = next(loader)
        frames = batch["mel"].shape[2] // 2
        first = int(torch.randint(0, 500 - frames + 1, ()))  # every position gets used while windows are short
        token, phone, guided, *hits = losses(run.model, shift(batch, first, run.tokens), first)
        weight = 1 - 0.7 * run.progress()  # the aids fade as the decoder finds its feet
        loss = token + weight * (0.5 * phone + 0.3 * guided)
        for group in run.optimiser.param_groups:
            group["lr"] = run.rate()
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        run.optimiser.step()
        run.step += 1
        run.windows += len(batch["mel"])
        run.average()
        now = time.time()
        run.spent += now - started
        started = now
        sums.append([float(x.detach()) for x in (token, phone, guided, *hits)])
        if run.step % 25 == 0:
            log(run, stage.value, [sum(c) / len(c) for c in zip(*sums)])
            sums = []
        if now - last_save > options.save_every:
            run.save()
            last_save = now
        if now - last_dev > options.dev_every:
            dev(run, log)
            last_dev = time.time()
    run.save()


def shift(batch, first, tokens):
    """Timestamps name positions, so they move with the window."""
    if first:
        for key in ("inputs", "targets"):
            stamped = batch[key] >= tokens.first_timestamp
            batch[key] = torch.where(stamped, batch[key] + first, batch[key])
    return batch


def dev(run, log):
    errors, words = dev_error(run.model, run.tokens, run.options.dev, run.options.dev_windows)
    log(run, -1, [errors, words, errors / max(1, words)])


def main():
    parser = argparse.ArgumentParser()
    for name in ("corpus", "dev", "tokenizer", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=180)
    parser.add_argument("--dev-every", type=float, default=480)
    parser.add_argument("--dev-windows", type=int, default=40)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    torch.set_num_threads(options.threads)

    def log(run, stage, values):
        line = {"step": run.step, "min": round(run.spent / 60, 2), "windows": run.windows, "stage": stage,
                "values": [round(v, 4) for v in values]}
        with open(os.path.join(options.out, "log.jsonl"), "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    run = Run(options)
    train(run, log)
    dev(run, log)


if __name__ == "__main__":
    main()
