"""The network: Whisper's architecture with Hugging Face's parameter names, plus two training aids dropped at export.

The aids use what a synthesiser knows and a recording does not: when each phone and each word was said. The encoder also
names the phone of each of its frames, and one decoder head is told where to look. Without them attention needs far more
speech than a CPU can chew through to discover that text and audio run in step.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import phones
from features import N_MELS

GUIDED = (1, 0)  # (decoder layer, head) that learns to look at the word being written; exported as alignment head
LOUDER = 4.5  # start of the convolutions, relative to PyTorch's
REACH = [3, 6, 4, 10, 5, 8]  # encoder frames to either side at which each layer's heads start looking


class Config:
    """Sizes, named as in Hugging Face's WhisperConfig."""

    def __init__(self, vocab_size, d_model=128, heads=2, encoder_layers=6, decoder_layers=2, source_positions=500,
                 target_positions=224):
        self.vocab_size, self.d_model, self.heads = vocab_size, d_model, heads
        self.encoder_layers, self.decoder_layers = encoder_layers, decoder_layers
        self.source_positions, self.target_positions = source_positions, target_positions


def sinusoids(length, channels):
    """Whisper's fixed encoder positions: [length, channels]."""
    scale = torch.exp(-math.log(10000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angle = torch.arange(length)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
        self.k_proj = nn.Linear(width, width, bias=False)

    def _split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D]

    def forward(self, x, source, causal=False, look=None):
        """`look`: head whose weights [B, L, T] are wanted beside the output [B, L, C]."""
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(source)), self._split(self.v_proj(source))
        # Not `scaled_dot_product_attention`: on a CPU its backward pass in bf16 is three times slower than these products.
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -1e9, dtype=scores.dtype).triu(1)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        seen = None
        if look is not None:
            seen = (q[:, look] @ k[:, look].transpose(1, 2) / math.sqrt(q.shape[-1])).float().softmax(-1)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), seen


@torch.no_grad()
def look_nearby(attention, width, offsets):
    """Starts each head off looking `offset` frames from its own place, as a convolution would.

    A head's queries and keys are the same rotation of the 32 fastest sinusoids, the keys' turned back by the offset; their
    product is a sum of cosines that peaks there. Whisper's convolutions see 65 ms, and finding "nearby" from random
    weights takes attention longer than all the rest of this training.
    """
    size = width // attention.heads
    pairs, half = torch.arange(size // 2), width // 2
    speed = torch.exp(-math.log(10000) / (half - 1) * pairs)  # radians per frame, as in `sinusoids`
    for head, offset in zip(range(attention.heads), offsets):
        rows = slice(head * size, (head + 1) * size)
        turn = torch.linalg.qr(torch.randn(size, size))[0]
        sine, cosine = turn[:, :size // 2], turn[:, size // 2:]
        near, far = torch.cos(speed * offset), torch.sin(speed * offset)
        attention.q_proj.weight[rows, pairs], attention.q_proj.weight[rows, half + pairs] = sine, cosine
        attention.k_proj.weight[rows, pairs] = sine * near + cosine * far
        attention.k_proj.weight[rows, half + pairs] = cosine * near - sine * far


class EncoderLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(width, heads), nn.LayerNorm(width)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.LayerNorm(width)

    def forward(self, x):
        h = self.self_attn_layer_norm(x)
        x = x + self.self_attn(h, h)[0]
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class DecoderLayer(EncoderLayer):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.encoder_attn, self.encoder_attn_layer_norm = Attention(width, heads), nn.LayerNorm(width)

    def forward(self, x, source, look=None):
        h = self.self_attn_layer_norm(x)
        x = x + self.self_attn(h, h, causal=True)[0]
        mixed, seen = self.encoder_attn(self.encoder_attn_layer_norm(x), source, look=look)
        x = x + mixed
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))), seen


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(N_MELS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.source_positions, width)
        self.embed_positions.weight = nn.Parameter(sinusoids(config.source_positions, width), requires_grad=False)
        self.layers = nn.ModuleList(EncoderLayer(width, config.heads) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)
        with torch.no_grad():
            # With PyTorch's own start the sound reaches the first layer at a twentieth of the size of the positions added
            # to it, and a short training never recovers from that.
            self.conv1.weight *= LOUDER
            self.conv2.weight *= LOUDER
        for layer, reach in zip(self.layers, REACH):
            look_nearby(layer.self_attn, self.embed_positions.weight.shape[1], [-reach, reach])

    def forward(self, mel, first=0):
        """[B, 80, F] -> [B, F/2, C]; `first` is the position given to the first frame."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[first:first + x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.d_model
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.embed_positions = nn.Embedding(config.target_positions, width)
        self.layers = nn.ModuleList(DecoderLayer(width, config.heads) for _ in range(config.decoder_layers))
        self.layer_norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed_tokens.weight, std=0.05)
        nn.init.normal_(self.embed_positions.weight, std=0.03)

    def forward(self, tokens, source):
        """[B, L], [B, T, C] -> logits [B, L, V] and the guided head's weights [B, L, T]."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[:tokens.shape[1]]
        guided = None
        for i, layer in enumerate(self.layers):
            x, seen = layer(x, source, look=GUIDED[1] if i == GUIDED[0] else None)
            guided = seen if seen is not None else guided
        return self.layer_norm(x) @ self.embed_tokens.weight.T, guided


@torch.no_grad()
def deepen(model, layers):
    """Lets the encoder layers from `layers` on begin as identities, so that a shallower network's weights go on as they were."""
    for layer in model.encoder.layers[layers:]:
        for last in (layer.self_attn.out_proj, layer.fc2):
            last.weight.zero_()
            last.bias.zero_()


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.phone_head = nn.Linear(config.d_model, len(phones.PHONES))

    @torch.no_grad()
    def transcribe(self, mel, prompt, end, limit=64, suppress=()):
        """Greedy decoding of a batch; returns token lists without prompt and end."""
        source = self.encoder(mel)
        tokens = torch.tensor([prompt] * len(mel))
        done = torch.zeros(len(mel), dtype=torch.bool)
        for _ in range(limit):
            logits = self.decoder(tokens, source)[0][:, -1]
            logits[:, list(suppress)] = -1e9
            best = torch.where(done, end, logits.argmax(-1))
            tokens = torch.cat([tokens, best[:, None]], dim=1)
            done |= best == end
            if done.all():
                break
        return [[t for t in row[len(prompt):] if t != end] for row in tokens.tolist()]
