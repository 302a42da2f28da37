"""Trains the built-in recogniser.

    python train.py --corpus DIR --dev DIR --tokenizer FILE --out DIR --minutes 100

`--start` begins with the weights of an exported folder instead of random ones. The schedule runs on the clock, because the machine it is made for has two cores and other work: window lengths and learning rate
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
from evaluate import dev_error, read_model
from model import Config, Model
from tokenizer import Tokens

WARM_UP = 300  # steps
SMOOTHING = 0.1
LONGEST_STEP = 10  # s
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
    """State of a training run: model, optimiser, averaged weights, progress. What is learnt is up to its children."""

    def __init__(self, options, model):
        self.options, self.model = options, model
        decayed = [p for p in self.model.parameters() if p.requires_grad and p.dim() > 1]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.dim() == 1]
        self.optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02},
                                            {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.98), fused=True)
        self.counts = torch.zeros(3, dtype=torch.float64)  # steps, seconds, windows
        self.averages, self.mean = 0, None
        self.path = os.path.join(options.out, "checkpoint.pt")
        if options.resume and os.path.exists(self.path):
            saved = torch.load(self.path)
            self.model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step, self.spent, self.windows = saved["step"], saved["spent"], saved["windows"]
            if options.reset_clock:
                self.spent = 0.0  # and the mean of the last sitting's end is no part of this one's
            else:
                self.averages, self.mean = saved["averages"], saved["mean"]

    def share(self):
        """Moves weights, optimiser state and counts into memory that forked processes share."""
        self.model.share_memory()
        for parameter in self.model.parameters():
            if parameter.requires_grad and not self.optimiser.state[parameter]:
                self.optimiser.state[parameter] = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter),
                                                   "exp_avg_sq": torch.zeros_like(parameter)}
        for state in self.optimiser.state.values():
            for value in state.values():
                value.share_memory_()
        self.counts.share_memory_()

    step = property(lambda self: int(self.counts[0]), lambda self, value: self.counts.__setitem__(0, value))
    spent = property(lambda self: float(self.counts[1]), lambda self, value: self.counts.__setitem__(1, value))
    windows = property(lambda self: int(self.counts[2]), lambda self, value: self.counts.__setitem__(2, value))

    def progress(self):
        if self.options.steps:
            return self.step / self.options.steps
        return self.spent / (60 * self.options.minutes)

    def rate(self):
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))
        return self.options.rate * min(1.0, (self.step + 1) / WARM_UP) * (0.02 + 0.98 * decay)

    def average(self):
        """Running mean of the weights over the tail of the run, sampled at each step of the first process."""
        if self.progress() < AVERAGED:
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


    def batches(self, seed):
        """Endless batches of examples."""
        raise NotImplementedError

    def loss(self, batch):
        """What to descend, and the numbers to log."""
        raise NotImplementedError

    def dev(self):
        """The numbers to log of the windows held out."""
        raise NotImplementedError


class Recogniser(Run):
    def __init__(self, options):
        self.tokens = Tokens(options.tokenizer)
        torch.manual_seed(options.seed)
        config = Config(self.tokens.size)
        model = read_model(options.start, config.encoder_layers)[0].train() if options.start else Model(config)
        super().__init__(options, model)

    def batches(self, seed):
        return Batches(self.options.corpus, self.tokens, self.progress, self.options.long, seed)

    def loss(self, batch):
        frames = batch["mel"].shape[2] // 2
        first = int(torch.randint(0, 500 - frames + 1, ()))  # every position gets used while windows are short
        token, phone, guided, *hits = losses(self.model, shift(batch, first, self.tokens), first)
        fading = 1 - self.progress()  # the aids fade as the decoder finds its feet
        loss = token + (0.2 + 1.3 * fading) * phone + guided
        return loss, [float(x.detach()) for x in (token, phone, guided, *hits)]

    def dev(self):
        errors, words = dev_error(self.model, self.tokens, self.options.dev, self.options.dev_windows)
        return [errors, words, errors / max(1, words)]


def train(run, log):
    """Two or more single-threaded processes update one set of weights in shared memory, without locks (Recht et al. 2011).

    On a busy machine this beats one process with as many threads: nobody waits at a barrier for a descheduled sibling.
    """
    run.share()
    others = [multiprocessing.get_context("fork").Process(target=work, args=(run, rank, None), daemon=True)
              for rank in range(1, run.options.processes)]
    for process in others:
        process.start()
    with open(os.path.join(run.options.out, "pids"), "w") as file:
        file.write(" ".join(str(pid) for pid in [os.getpid()] + [p.pid for p in others]) + "\n")
    work(run, 0, log)
    for process in others:
        process.join(30)
    run.save()


def work(run, rank, log):
    """Trains until the run's end. Rank 0 also keeps the clock, logs, averages, saves and looks at the dev set."""
    options = run.options
    batches = iter(run.batches(f"{options.seed}-{run.step}-{rank}"))
    last_save, last_dev, sums, started = time.time(), time.time(), [], time.time()
    while run.progress() < 1:
        sums.append(update(run, next(batches)))
        if rank:
            wait_while_stopped(os.getppid())
            continue
        run.average()
        now = time.time()
        run.spent += min(now - started, LONGEST_STEP)  # a stopped run does not age
        started = now
        if len(sums) == 25:
            log(run, "train", [sum(c) / len(c) for c in zip(*sums)])
            sums = []
        if now - last_save > options.save_every:
            run.save()
            last_save = now
        if now - last_dev > options.dev_every:
            log(run, "dev", run.dev())
            last_dev = time.time()


def update(run, batch):
    """One optimiser step; returns the numbers to log."""
    with torch.autocast("cpu", dtype=torch.bfloat16):  # halves the time of a step where the processor has bf16 products
        loss, numbers = run.loss(batch)
    for group in run.optimiser.param_groups:
        group["lr"] = run.rate()
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimiser.step()
    run.step += 1
    run.windows += len(next(iter(batch.values())))
    return numbers


def wait_while_stopped(pid):
    """Whoever stops the first process (SIGSTOP) means all of them."""
    while True:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] != "T":
                return
        time.sleep(0.5)


def shift(batch, first, tokens):
    """Timestamps name positions, so they move with the window."""
    if first:
        for key in ("inputs", "targets"):
            stamped = batch[key] >= tokens.first_timestamp
            moved = (batch[key] + first).clamp(max=tokens.first_timestamp + 500)  # a word may end past its window
            batch[key] = torch.where(stamped, moved, batch[key])
    return batch


def arguments():
    """Options that every kind of run has."""
    parser = argparse.ArgumentParser()
    for name in ("corpus", "dev", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=180)
    parser.add_argument("--dev-every", type=float, default=480)
    parser.add_argument("--dev-windows", type=int, default=40)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--reset-clock", action="store_true", help="with --resume: keep the weights, begin the schedule anew")
    return parser


def log(run, kind, values):
    line = {"step": run.step, "min": round(run.spent / 60, 2), "windows": run.windows, "kind": kind,
            "values": [round(v, 4) for v in values]}
    with open(os.path.join(run.options.out, "log.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def main():
    parser = arguments()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--start", help="folder with exported weights and tokenizer to begin with")
    parser.add_argument("--long", type=float, default=0.1, help="part of the batches with ten-second windows")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    torch.set_num_threads(1)
    run = Recogniser(options)
    train(run, log)
    log(run, "dev", run.dev())


if __name__ == "__main__":
    main()
