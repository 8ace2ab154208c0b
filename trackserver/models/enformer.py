"""Enformer: 5,313 human or 1,643 mouse tracks in bins of 128 bp, from 196,608 bp.

Leaf to root: `ConvBlock`, `AttentionPool`, `Stage`, the basis of distances, `Enformer`, `translate` (two kinds of
file). The attention itself is `layers.RelativeAttention`.

Avsec, Agarwal, Visentin, Ledsam, Grabska-Barwinska, Taylor, Assael, Jumper, Kohli, Kelley, "Effective gene expression
prediction from sequence by integrating long-range interactions", Nature Methods 2021;
https://github.com/google-deepmind/deepmind-research/tree/master/enformer. Details that the paper
leaves open or states differently:

1. The GELU is x * sigmoid(1.702 x).
2. Attention pooling has one logit per channel and position, a linear map of all channels without bias. The softmax of
   two positions is a sigmoid of the difference of their logits, which is the logit of the difference: half the work.
3. The basis of distances is a third exponentials, a third nested masks, a third gamma densities, and the same again
   with the distance's sign. The gamma densities are divided by their largest value over all distances.
   The enformer-pytorch package divides them by the largest of the densities at each distance (except at 1,536 bins,
   where it loads a table); a network trained with that needs `gamma_axis = "features"`, which no file states.
4. Official gamma densities are float32. Their logarithms are sums of terms near 30,000, where one rounding error is
   0.002, so the order of operations matters: `gamma` keeps TensorFlow's. At 1,536 bins and 32 densities, 98 % of the
   values match the official ones to 1e-6 and the others differ by one rounding, at most 0.002; 3e-6 on average. In
   float64 the average is 1.3e-5: more exact, but further from what the published weights were trained with.
5. 320 of the 1,536 bins at each side are cropped after the transformer, which leaves 896, or 114,688 bp. The network
   on TensorFlow Hub takes 393,216 bp and drops the outer half first.

Dropout has no effect in prediction.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError, listing
from trackserver.models.layers import (
    BatchNorm,
    SameConv,
    Sizes,
    TorchReader,
    TransformerBlock,
    attention_state,
    check_choice,
    check_sizes,
    config_as_json,
    crop_bins,
    flatten_states,
    read_config,
    sigmoid_gelu,
    take_block,
    two_sided,
    whole_bins,
)
from trackserver.models.weights import Choice, Fit, TranslatedWeights, Weights

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-5  # of batch and layer norms: Sonnet's default


@dataclass(frozen=True)
class EnformerConfig:
    """Sizes; the defaults are the published network's (the paper's Methods and the official code's arguments)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stem_channels: int = 768
    stem_kernel: int = 15
    tower_channels: tuple[int, ...] = (
        768,
        896,
        1024,
        1152,
        1280,
        1536,
    )  # growing by a constant ratio, in multiples of 128
    tower_kernel: int = 5
    layers: int = 11
    heads: int = 8
    key: int = 64  # per head
    value: int = 192  # per head
    features: int = 192  # of the basis of distances: 32 of each of three kinds, and the same with the sign
    mlp: int = 3072  # twice the transformer's width
    hidden: int = 3072  # of the last layer before the tracks
    gamma_axis: Literal["positions", "features"] = "positions"  # the official code's

    def __post_init__(self) -> None:
        if not self.tower_channels:
            raise DataError("Enformer needs tower_channels, because the last of them is the transformer's width.")
        sizes = (self.stem_channels, self.stem_kernel, *self.tower_channels, self.tower_kernel, self.layers, self.heads)
        check_sizes("Enformer", *sizes, self.key, self.value, self.features, self.mlp, self.hidden)
        if self.features % 6:
            raise DataError(f"Enformer's features are 6 equal parts, but {self.features} is not a multiple of 6.")

    @property
    def bin_width(self) -> int:
        return 2 ** (1 + len(self.tower_channels))


class ConvBlock(nn.Module):
    """(B, C, L) -> (B, C', L)."""

    def __init__(self, channels_in: int, channels: int, kernel: int):
        super().__init__()
        self.norm = BatchNorm(channels_in, EPS)
        self.conv = SameConv(channels_in, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(sigmoid_gelu(self.norm(x)))


class AttentionPool(nn.Module):
    """(B, C, L) -> (B, C, L // 2): the softmax-weighted average of each two positions."""

    def __init__(self, channels: int):
        super().__init__()
        self.to_logits = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[..., ::2], x[..., 1::2]
        difference = first - second
        return torch.addcmul(second, self.to_logits(difference).sigmoid(), difference)


class Stage(nn.Module):
    """(B, C, L) -> (B, C', L // 2): a convolution, a residual one of length 1, the pool."""

    def __init__(self, conv: nn.Module, channels: int):
        super().__init__()
        self.conv = conv
        self.mix = ConvBlock(channels, channels, 1)
        self.pool = AttentionPool(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.pool(self.mix(x).add_(x))  # reuses the memory of mix's output


@lru_cache(maxsize=8)
def basis(length: int, features: int, gamma_axis: str, device: torch.device) -> Tensor:
    """(2 * length - 1, features): features of each distance from 1 - length to length - 1."""
    # Computed on the processor, because other devices round differently, and outside inference mode, so that the cached
    # tensor can be used in any mode.
    with torch.inference_mode(False), torch.no_grad():
        distance = torch.arange(length, dtype=torch.float32, device="cpu")[:, None]
        count = features // 6
        half_life = 2 ** torch.linspace(3, math.log2(length), count, device="cpu")
        exponential = torch.exp(-math.log(2) / half_life * distance)
        reach = 2 ** torch.arange(1, count + 1, device="cpu") - 1
        mask = (reach > distance).float()
        return two_sided(torch.cat([exponential, mask, gamma(distance, length, count, gamma_axis)], 1)).to(device)


def gamma(distance: Tensor, length: int, count: int, axis: str) -> Tensor:
    """(length, count): gamma densities with evenly spaced means and one common standard deviation."""
    deviation = length / (2 * count)
    mean = torch.linspace(length / count, length, count, device="cpu")
    shape, rate = (mean / deviation) ** 2, mean / deviation**2
    log_density = torch.xlogy(shape - 1, distance) - rate * distance
    density = torch.exp(log_density - (torch.lgamma(shape) - shape * torch.log(rate))) + 1e-8
    return density / density.amax(0 if axis == "positions" else 1, keepdim=True)


class Enformer(nn.Module):
    """One-hot (B, 4, L) -> (B, T, L // 128 - 2 crop); `crop` in bins. Tracks are in units of coverage."""

    def __init__(self, config: EnformerConfig, n_tracks: int, crop: int):
        super().__init__()
        self.config, self.crop = config, crop
        channels = config.stem_channels
        self.stem = Stage(SameConv(4, channels, config.stem_kernel), channels)
        self.tower = nn.Sequential(
            *(
                Stage(ConvBlock(before, after, config.tower_kernel), after)
                for before, after in pairwise((channels, *config.tower_channels))
            )
        )
        width = config.tower_channels[-1]
        self.transformer = nn.ModuleList(
            TransformerBlock(width, config.heads, config.key, config.value, config.features, config.mlp, EPS)
            for _ in range(config.layers)
        )
        self.last = ConvBlock(width, config.hidden, 1)
        self.head = nn.Conv1d(config.hidden, n_tracks, 1)

    def forward(self, one_hot: Tensor) -> Tensor:
        x = self.tower(self.stem(one_hot)).transpose(1, 2)
        distances = basis(x.shape[1], self.config.features, self.config.gamma_axis, x.device)
        for block in self.transformer:
            x = block(x, distances)
        x = self.last(crop_bins(x.transpose(1, 2), self.crop))
        return F.softplus(self.head(sigmoid_gelu(x)))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Enformer:
    checked = read_config(EnformerConfig, config, "Enformer")
    return Enformer(checked, n_tracks, whole_bins(crop, checked.bin_width, "Enformer"))


class PackageReader(TorchReader):
    """Reads a state dict of enformer-pytorch: https://huggingface.co/EleutherAI/enformer-official-rough.

    Its trunk's layers have two names each, and a file can use either or both.
    """

    TRUNK: ClassVar = {"1": "stem", "2": "conv_tower", "4": "transformer", "6": "final_pointwise"}

    def __init__(self, weights: Weights):
        tensors = {self._layer_name(name): tensor for name, tensor in weights.tensors.items()}
        super().__init__(Fit(Weights(weights.path, tensors), "Enformer"))

    def _layer_name(self, name: str) -> str:
        trunk, _, rest = name.partition(".")
        number, _, layer = rest.partition(".")
        return f"{self.TRUNK[number]}.{layer}" if trunk == "_trunk" and number in self.TRUNK else name

    def pool(self, path: str, width: int) -> dict[str, Tensor]:
        return {"weight": self.fit.take(f"{path}.to_attn_logits.weight", width, width, 1, 1)[..., 0]}

    def heads(self) -> set[str]:
        return {name.split(".")[1] for name in self.fit.weights.tensors if name.startswith("_heads.")}

    def ignore(self, head: str) -> None:
        self.fit.ignore(rf"num_batches_tracked$|^_heads\.(?!{re.escape(head)}\.)")


class SonnetReader:
    """Reads the official checkpoint: gs://dm-enformer/models/enformer/sonnet_weights.

    It names a layer by its position: `_trunk/_layers/1/_layers/0/...`, with `_module` inside residual blocks.
    """

    TRUNK_LAYERS: ClassVar = {"stem": "0", "conv_tower": "1", "transformer": "2", "final_pointwise": "4"}

    def __init__(self, weights: Weights):
        self.fit = Fit(weights, "Enformer")
        # The network's container can have any name.
        self.root = next(name.partition("_trunk/")[0] for name in weights.tensors if "_trunk/" in name)

    def name(self, path: str, tensor: str) -> str:
        first, *rest = path.split(".")
        if first == "final_pointwise":
            rest[0] = "0"  # in the package, a transposition precedes the block
        parts = [f"_trunk/_layers/{self.TRUNK_LAYERS[first]}" if first in self.TRUNK_LAYERS else first]
        parts += ["_module" if part == "fn" else f"_layers/{part}" if part.isdigit() else part for part in rest]
        return f"{self.root}{'/'.join(parts)}/{tensor}/.ATTRIBUTES/VARIABLE_VALUE"

    def take(self, path: str, tensor: str, *shape: int | None) -> Tensor:
        return self.fit.take(self.name(path, tensor), *shape)

    def has_layer(self, path: str) -> bool:
        return self.fit.has(self.name(path, "w"))

    def conv(self, path: str, width_out: int | None, width: int, kernel: int) -> dict[str, Tensor]:
        weight = self.take(path, "w", kernel, width, width_out).permute(2, 1, 0)
        return {"weight": weight, "bias": self.take(path, "b", len(weight))}

    def linear(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]:
        weight = self.take(path, "w", width, width_out).T
        return {"weight": weight, "bias": self.take(path, "b", len(weight))}

    def norm(self, path: str, width: int) -> dict[str, Tensor]:
        mean = self.take(path, "moving_mean/average", 1, 1, width).flatten()
        variance = self.take(path, "moving_variance/average", 1, 1, width).flatten()
        return {**self.layer_norm(path, width), "running_mean": mean, "running_var": variance}

    def layer_norm(self, path: str, width: int) -> dict[str, Tensor]:
        return {"weight": self.take(path, "scale", width), "bias": self.take(path, "offset", width)}

    def attention(self, path: str, width: int, sizes: Sizes) -> tuple[dict[str, Tensor], Sizes]:
        content = self.take(path, "_r_w_bias", 1, sizes.heads, 1, sizes.key)
        heads, key = content.shape[1], content.shape[3]
        position = self.take(path, "_r_r_bias", 1, heads, 1, key)
        q, k = (self.take(path, f"_{name}_layer/w", width, heads * key).T for name in "qk")
        v = self.take(path, "_v_layer/w", width, sizes.value and heads * sizes.value).T
        r = self.take(path, "_r_k_layer/w", sizes.features, heads * key).T
        out = self.take(path, "_embedding_layer/w", len(v), width).T
        bias = self.take(path, "_embedding_layer/b", width)
        sizes = Sizes(heads, key, len(v) // heads, r.shape[1], sizes.mlp)
        return attention_state(content, position, q, k, v, out, bias, r), sizes

    def pool(self, path: str, width: int) -> dict[str, Tensor]:
        return {"weight": self.take(path, "_logit_linear/w", width, width).T[:, :, None]}

    def heads(self) -> set[str]:
        names = (name.partition("_heads/")[2] for name in self.fit.weights.tensors)
        return {name.partition("/")[0] for name in names if name}

    def ignore(self, head: str) -> None:
        # counters of moving averages, other heads, and everything outside the network
        self.fit.ignore(
            rf"/_(counter|hidden)/|\.OPTIMIZER_SLOT/|^(?!{re.escape(self.root)}(_trunk|_heads/{re.escape(head)})/)"
        )


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the official checkpoint or the Hugging Face file, or a smaller one; one head, by default `human`."""
    check_choice(choice, "Enformer", choice.head)  # the file determines which heads there are
    official = any("_trunk/" in name for name in weights.tensors)
    reader = SonnetReader(weights) if official else PackageReader(weights)
    head, heads = choice.head or "human", reader.heads()
    if heads and head not in heads:
        raise DataError(f"{weights.path} has no head '{head}'; it has {listing(sorted(heads))}.")
    reader.ignore(head)
    layers = {"stem.conv": reader.conv("stem.0", None, 4, 15)}
    stem = width = len(layers["stem.conv"]["weight"])
    layers |= _take_mix(reader, "stem", "stem", width)
    tower: list[int] = []
    while reader.has_layer(f"conv_tower.{len(tower)}.0.2"):
        path, name = f"conv_tower.{len(tower)}", f"tower.{len(tower)}"
        layers[f"{name}.conv.norm"] = reader.norm(f"{path}.0.0", width)
        layers[f"{name}.conv.conv"] = reader.conv(f"{path}.0.2", None, width, 5)
        width = len(layers[f"{name}.conv.conv"]["weight"])
        layers |= _take_mix(reader, path, name, width)
        tower.append(width)
    sizes, count = Sizes(), 0
    while reader.has_layer(f"transformer.{count}.1.fn.1") or not count:
        layers[f"transformer.{count}"], sizes = take_block(reader, f"transformer.{count}", width, sizes)
        count += 1
    layers["last.norm"] = reader.norm("final_pointwise.1.0", width)
    layers["last.conv"] = reader.conv("final_pointwise.1.2", None, width, 1)
    hidden = len(layers["last.conv"]["weight"])
    rows = reader.linear(f"_heads.{head}.0", None, hidden)
    layers["head"] = {"weight": rows["weight"][:, :, None], "bias": rows["bias"]}
    reader.fit.check_all_taken()
    attention = {name: size for name, size in sizes._asdict().items() if size is not None}
    config = EnformerConfig(stem_channels=stem, tower_channels=tuple(tower), layers=count, hidden=hidden, **attention)
    return TranslatedWeights(config_as_json(config), flatten_states(layers))


def _take_mix(reader: PackageReader | SonnetReader, path: str, name: str, width: int) -> dict[str, dict[str, Tensor]]:
    """Read a stage's layers after its first convolution."""
    return {
        f"{name}.mix.norm": reader.norm(f"{path}.1.fn.0", width),
        f"{name}.mix.conv": reader.conv(f"{path}.1.fn.2", width, width, 1),
        f"{name}.pool.to_logits": reader.pool(f"{path}.2", width),
    }
