"""CAM++ of 3D-Speaker (speakerlab/models/campplus/DTDNN.py) with the names of its state dict, and its features."""

import numpy as np
import torch
import torchaudio.compliance.kaldi as kaldi
from torch import nn
from torch.nn import functional as F

FRAME, SHIFT = 400, 160  # samples of a frame of features, and from one to the next
FEWEST = 3  # frames of an embedding


def bn_relu(channels, affine=True, relu=True):
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels, affine=affine))
    if relu:
        layers.add_module("relu", nn.ReLU())
    return layers


class Residual(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class Head(nn.Module):
    """[B, 80, T] -> [B, 320, T]: strides in frequency only."""

    def __init__(self, channels=32):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.layer2 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x[:, None])))
        return F.relu(self.bn2(self.conv2(self.layer2(self.layer1(x))))).flatten(1, 2)


class Masked(nn.Module):
    """A local convolution times a mask from the mean of all frames plus the mean of each 100."""

    def __init__(self, channels, growth, dilation):
        super().__init__()
        self.linear_local = nn.Conv1d(channels, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x):
        hundreds = F.avg_pool1d(x, 100, 100, ceil_mode=True).repeat_interleave(100, -1)[..., : x.shape[-1]]
        context = F.relu(self.linear1(x.mean(-1, keepdim=True) + hundreds))
        return self.linear_local(x) * torch.sigmoid(self.linear2(context))


class Layer(nn.Module):
    def __init__(self, channels, growth, dilation):
        super().__init__()
        self.nonlinear1 = bn_relu(channels)
        self.linear1 = nn.Conv1d(channels, 4 * growth, 1, bias=False)
        self.nonlinear2 = bn_relu(4 * growth)
        self.cam_layer = Masked(4 * growth, growth, dilation)

    def forward(self, x):
        return torch.cat([x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))], 1)


class Linear(nn.Module):
    """A convolution with its norm, before or behind it."""

    def __init__(self, conv, norm, first):
        super().__init__()
        self.linear, self.nonlinear, self.first = conv, norm, first

    def forward(self, x):
        return self.linear(self.nonlinear(x)) if self.first else self.nonlinear(self.linear(x))


class CamPlus(nn.Module):
    """Features [B, T, 80] -> embeddings [B, size]."""

    def __init__(self, size=192, growth=32):
        super().__init__()
        self.head, channels = Head(), 128
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", Linear(nn.Conv1d(320, channels, 5, 2, 2, bias=False), bn_relu(channels), False))
        for i, (layers, dilation) in enumerate([(12, 1), (24, 2), (16, 2)], 1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"tdnnd{layer + 1}", Layer(channels + layer * growth, growth, dilation))
            self.xvector.add_module(f"block{i}", block)
            channels += layers * growth
            self.xvector.add_module(f"transit{i}", Linear(nn.Conv1d(channels, channels // 2, 1, bias=False), bn_relu(channels), True))
            channels //= 2
        self.xvector.add_module("out_nonlinear", bn_relu(channels))
        dense = Linear(nn.Conv1d(2 * channels, size, 1, bias=False), bn_relu(size, affine=False, relu=False), False)
        self.xvector.add_module("dense", dense)

    def forward(self, x):
        x = self.head(x.transpose(1, 2))
        for name, part in self.xvector.named_children():
            if name == "dense":
                x = torch.cat([x.mean(-1), x.std(-1)], -1)[..., None]
            x = part(x)
        return x[..., 0]


def load(path):
    network = CamPlus()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def features(spans):
    """80 Kaldi filter banks [T, 80] of some stretches of samples, the frames of each that lie in it as a whole; their mean is taken off.

    Samples lie in [-1, 1] and are not scaled to 16 bits, as in 3D-Speaker's `speakerlab/process/processor.py`: bands below the floor of the
    logarithm make a difference in quiet recordings.
    """
    banks = [kaldi.fbank(torch.from_numpy(np.ascontiguousarray(span, np.float32))[None], num_mel_bins=80, dither=0.0,
                         sample_frequency=16000, window_type="povey") for span in spans if len(span) >= FRAME]
    banks = torch.cat(banks) if banks else torch.zeros(0, 80)
    return banks - banks.mean(0, keepdim=True)


@torch.inference_mode()
def embed(network, spans):
    """The embedding [192] of some stretches of samples at 16 kHz, joined; NaN for fewer than three frames."""
    found = features(spans)
    return network(found[None])[0].numpy() if len(found) >= FEWEST else np.full(192, np.nan, np.float32)
