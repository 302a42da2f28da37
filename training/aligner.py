"""The built-in aligner: a small wav2vec2-CTC over letters, and what it is taught.

The network is transformers' own. Its targets are frames: every frame of a word is one of the word's letters, in order, and
every frame outside is the blank or the delimiter. Which letter a frame of a word is nobody says; the loss sums over all ways
to share the frames out. Plain CTC would be satisfied with a spike somewhere in each letter, and spikes are no boundaries.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

SAMPLE_RATE, HOP, FIELD = 16000, 160, 400  # a frame every 10 ms, which hears 25 ms
VOCABULARY = {token: i for i, token in enumerate(["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"])}
BLANK, DELIMITER = 0, 1
PAUSE_DELIMITER = 0.1  # probability of the delimiter in the frames of a pause: any of them will do
IMPOSSIBLE = -30.0  # log-probability of the blank inside a word
BANDS, PHASES, TAPS = 32, 4, 160
LOUDNESS = 0.008  # of the filters; with it speech comes out at 0.02, and what is 16 dB below drowns in the epsilon of the layer norm


def network(seed=1):
    """Untrained, but for its ears."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY), hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768,
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
        layerdrop=0.0, feat_extract_norm="layer", conv_dim=[BANDS * PHASES, 192, 192], conv_stride=[40, 2, 2],
        conv_kernel=[TAPS, 3, 3], conv_bias=True, num_conv_pos_embeddings=48, num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=True, apply_spec_augment=False, mask_time_prob=0.0, pad_token_id=BLANK,
        bos_token_id=None, eos_token_id=None, ctc_loss_reduction="mean")
    config._attn_implementation = "eager"  # the backward pass of the fused one is slow on processors
    model = Wav2Vec2ForCTC(config)
    _tune(model.wav2vec2.feature_extractor.conv_layers)
    return model


def _tune(layers):
    """The first convolution is a bank of band filters in four phases, and stays so; the second begins with their envelopes."""
    first, second = layers[0].conv, layers[1].conv
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(_filters())[:, None])
        first.bias.zero_()
        for band in range(BANDS):
            second.weight[band] = 0
            second.weight[band, band * PHASES:(band + 1) * PHASES] = 1 / PHASES
    first.weight.requires_grad_(False)
    first.bias.requires_grad_(False)


def _filters():
    """[channels, taps]: a Hann window over a sine, mel-spaced, louder towards the top as speech is softer there."""
    mel = np.linspace(_mel(120.0), _mel(7400.0), BANDS)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    time = (np.arange(TAPS) - (TAPS - 1) / 2) / SAMPLE_RATE
    rows = []
    for frequency in hertz:

        width = TAPS if frequency < 1500 else TAPS * 0.75
        window = np.where(np.abs(time) <= width / 2 / SAMPLE_RATE, np.cos(np.pi * time * SAMPLE_RATE / width) ** 2, 0)
        for phase in range(PHASES):
            row = window * np.cos(2 * np.pi * frequency * time + 2 * np.pi * phase / PHASES)
            row /= np.sqrt(np.sum(row ** 2))
            rows.append(row * LOUDNESS * (max(frequency, 300) / 300) ** 0.7)
    return np.array(rows, np.float32)


def _mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def normalised(audio):
    """Mean 0, variance 1, as transformers' feature extractor has it."""
    return (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)


def frames_of(samples):
    return (samples - FIELD) // HOP + 1


def spelling(word):
    """Classes of a written word, a blank between two that are alike."""
    letters = [VOCABULARY[c] for c in word.lower() if c in VOCABULARY and c != "|"]
    out = letters[:1]
    for before, letter in zip(letters, letters[1:]):
        out += [BLANK, letter] if letter == before else [letter]
    return out


def word_frames(words, frames):
    """[first, last) frame of each (word, start s, end s). Words without a pause between leave a frame to the delimiter."""
    def frame(seconds):
        return (seconds * SAMPLE_RATE - FIELD / 2) / HOP
    starts = [max(0, math.ceil(frame(start))) for _, start, _ in words]
    ends = [min(frames, math.ceil(frame(end))) for _, _, end in words]
    for i in range(len(words) - 1):
        if ends[i] > starts[i + 1] - 1:
            boundary = round(frame((words[i][2] + words[i + 1][1]) / 2))
            ends[i], starts[i + 1] = boundary, boundary + 1
    return list(zip(starts, ends))


class Targets:
    """What a batch of windows of equal length should be heard as."""

    def __init__(self, windows, frames):
        """`windows`: the words of each, as (word, start s, end s)."""
        self.outside = torch.zeros(len(windows), frames, 2)  # weights of blank and delimiter
        self.rows, self.starts, self.lengths, self.labels = [], [], [], []
        for row, words in enumerate(windows):
            self._fill(row, words, frames)

    def _fill(self, row, words, frames):
        pause = torch.tensor([1 - PAUSE_DELIMITER, PAUSE_DELIMITER])
        spans, at = word_frames(words, frames), 0
        for (word, _, _), (start, end) in zip(words, spans):
            self.outside[row, at:max(at, start)] = pause
            if start - at == 1 and at > 0:
                self.outside[row, at] = torch.tensor([0.0, 1.0])
            labels = spelling(word)
            if labels and end - start >= len(labels):  # a word said faster than it is spelt teaches nothing
                self.rows.append(row)
                self.starts.append(start)
                self.lengths.append(end - start)
                self.labels.append(labels)
            at = max(at, end)
        self.outside[row, at:] = pause

    def loss(self, logits, guidance):
        """Per frame. `guidance` weighs a first guess, the letters of a word sharing its frames evenly."""
        log_probs = F.log_softmax(logits.float(), -1)
        outside = -(log_probs[..., [BLANK, DELIMITER]] * self.outside).sum()
        if not self.rows:
            return outside / self.outside.sum()
        closed = torch.cat([log_probs, torch.full_like(log_probs[..., :1], IMPOSSIBLE)], -1)
        lengths = torch.tensor(self.lengths)
        places = torch.tensor(self.starts)[:, None] + torch.arange(int(lengths.max()))
        inside = closed[torch.tensor(self.rows)[:, None], places.clamp(max=logits.shape[1] - 1)]  # [words, frames, classes]
        labels = torch.tensor([label for word in self.labels for label in word])
        loss = F.ctc_loss(inside.transpose(0, 1), labels, lengths, torch.tensor([len(word) for word in self.labels]),
                          blank=logits.shape[-1], reduction="sum")
        if guidance > 0:
            rows, times, wanted = self._even_shares()
            loss = (1 - guidance) * loss - guidance * log_probs[rows, times, wanted].sum()
        return (outside + loss) / (self.outside.sum() + lengths.sum())

    def _even_shares(self):
        out = [(row, start + t, labels[t * len(labels) // length])
               for row, start, length, labels in zip(self.rows, self.starts, self.lengths, self.labels) for t in range(length)]
        return torch.tensor(out).T
