"""Basenji: 4,229 tracks in bins of 128 bp, from 131,072 bp.

Leaf to root: `Block` (convolution, norm, ReLU, max-pool), `Basenji`, `translate` (its TensorFlow checkpoint).

Kelley, Reshef, Bileschi, Belanger, McLean, Snoek, "Sequential regulatory activity prediction across chromosomes with
convolutional neural networks", Genome Research 2018; https://github.com/calico/basenji. What the paper leaves open:

1. A block is convolution, norm, ReLU, max-pool in that order, as in the code until March 2018, which the published
   graph's unnamed placeholders are older than. Here the pool comes before the ReLU: the same numbers, from half to a
   quarter of the values.
2. Its "seven dilated layers" are six that are dilated and whose output is laid beside their input (not added to it),
   and one of kernel length 1.
3. Kernels of 22 and 6 have no middle: TensorFlow's padding puts the odd zero on the right.
4. The output is x + 1 for positive x and exp(x) below, so never negative; neither softplus nor exp.
5. The published network leaves out 4,096 bp at each side: 960 bins. Dropout and batch renormalisation do nothing here.

The checkpoint holds shapes alone. Kernels, widths and which layers are dense are read from them; the pools, and the
dilations 2, 4, 8 ..., are the published ones by position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from trackserver.errors import DataError
from trackserver.models.layers import (
    BatchNorm,
    SameConv,
    check_choice,
    check_sizes,
    crop_bins,
    max_pool,
    read_config,
    whole_bins,
    written,
)
from trackserver.models.weights import Choice, Fit, Translated, Weights

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-3  # of the batch norms: TensorFlow's default
POOLS = (1, 2, 4, 4, 4, 1)
# What training leaves in a checkpoint: optimizer slots, counters, batch renormalisation.
UNUSED = r"/(Adam|Momentum|RMSProp)(_\d+)?$|(^|/)beta[12]_power$|(^|/)global_step$|/renorm_"


@dataclass(frozen=True)
class BasenjiConfig:
    """Sizes; the defaults are the published network's (layer by layer in the paper's supplement)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    channels: tuple[int, ...] = (312, 368, 435, 514, 607, 717)
    kernels: tuple[int, ...] = (22, 1, 6, 6, 6, 3)
    pools: tuple[int, ...] = POOLS  # 128 bp a bin
    dense_channels: int = 108  # that each dilated layer adds
    dense_kernel: int = 3
    dilations: tuple[int, ...] = (2, 4, 8, 16, 32, 64)  # the last sees 8 kb to each side
    hidden: int = 1365  # of the layer before the tracks: as many as the dense layers lead to

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.pools) > 0:
            raise DataError("channels, kernels and pools of Basenji must be equally many: one of each a convolution.")
        sizes = (*self.channels, *self.kernels, *self.pools, *self.dilations, self.dense_channels, self.dense_kernel)
        check_sizes("Basenji", *sizes, self.hidden)

    @property
    def bin_width(self) -> int:
        return math.prod(self.pools)


class Block(nn.Module):
    """(B, C, L) -> (B, C', L // pool)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, *, pool: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = SameConv(channels_in, channels, kernel, dilation=dilation, bias=False)
        self.norm = BatchNorm(channels, EPS)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(self.norm(self.conv(x)), self.pool).relu_()


class Basenji(nn.Module):
    """One-hot (B, 4, L) -> (B, T, L // 128 - 2 crop); `crop` in bins. The tracks' units are coverage."""

    def __init__(self, config: BasenjiConfig, n_tracks: int, crop: int):
        super().__init__()
        self.crop = crop
        widths = (4, *config.channels)
        self.tower = nn.Sequential(
            *(
                Block(before, after, kernel, pool=pool)
                for before, after, kernel, pool in zip(widths, widths[1:], config.kernels, config.pools, strict=False)
            )
        )
        width, added = widths[-1], config.dense_channels
        self.dense = nn.ModuleList(
            Block(width + i * added, added, config.dense_kernel, dilation=dilation)
            for i, dilation in enumerate(config.dilations)
        )
        self.last = Block(width + len(config.dilations) * added, config.hidden, 1)
        self.head = nn.Conv1d(config.hidden, n_tracks, 1)

    def forward(self, one_hot: Tensor) -> Tensor:
        x = self.tower(one_hot)
        for block in self.dense:
            x = torch.cat([x, block(x)], 1)
        # From here on each bin is by itself: leave out first, then compute.
        return exp_linear(self.head(self.last(crop_bins(x, self.crop))))


def exp_linear(x: Tensor) -> Tensor:
    """TensorFlow's code holds the exponent in -50 to 50, hence so does this."""
    return torch.where(x > 0, x + 1, x.clamp(-50, 50).exp())


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Basenji:
    checked = read_config(BasenjiConfig, config, "Basenji")
    return Basenji(checked, n_tracks, whole_bins(crop, checked.bin_width, "Basenji"))


def translate(weights: Weights, choice: Choice) -> Translated:
    """The checkpoint `model.tf` of https://storage.googleapis.com/131k/, or a smaller one of the same layers."""
    check_choice(choice, "Basenji", "human")
    fit = Fit(weights, "Basenji")
    fit.ignore(UNUSED)
    state: dict[str, Tensor] = {}
    width, channels = 4, []
    kernels = BasenjiConfig().kernels
    for i, kernel in enumerate(kernels):
        width = _take_block(fit, i, kernel, width, None, f"tower.{i}", state)
        channels.append(width)
    # A dense layer's output lies beside its input in what the next one reads.
    first, added, count = len(kernels), 0, 0
    while _kernel(fit, first + count + 1)[1] == width + _kernel(fit, first + count)[2]:
        added = _take_block(fit, first + count, 3, width, added or None, f"dense.{count}", state)
        width, count = width + added, count + 1
    hidden = _take_block(fit, first + count, 1, width, None, "last", state)
    if fit.holds("final/dense/kernel"):
        head, name = fit.take("final/dense/kernel", hidden, None).T[:, :, None], "final/dense/bias"
    else:
        head, name = fit.take("final/conv1d/kernel", 1, hidden, None).permute(2, 1, 0), "final/conv1d/bias"
    state |= {"head.weight": head, "head.bias": fit.take(name, len(head))}
    fit.done()
    config = BasenjiConfig(
        channels=tuple(channels),
        dense_channels=added or BasenjiConfig().dense_channels,
        dilations=tuple(2 ** (i + 1) for i in range(count)),
        hidden=hidden,
    )
    return Translated(written(config), state)


def _take_block(
    fit: Fit, i: int, kernel: int, width: int, channels: int | None, ours: str, state: dict[str, Tensor]
) -> int:
    """Put the layer `cnn{i}` into the state; returns its number of channels."""
    conv = fit.take(f"cnn{i}/conv1d/kernel", kernel, width, channels)
    made, norm = conv.shape[2], f"cnn{i}/batch_normalization"
    state |= {
        f"{ours}.conv.weight": conv.permute(2, 1, 0),
        f"{ours}.norm.weight": fit.take(f"{norm}/gamma", made),
        f"{ours}.norm.bias": fit.take(f"{norm}/beta", made),
        f"{ours}.norm.running_mean": fit.take(f"{norm}/moving_mean", made),
        f"{ours}.norm.running_var": fit.take(f"{norm}/moving_variance", made),
    }
    return made


def _kernel(fit: Fit, i: int) -> tuple[int, ...]:
    """Its length, the channels it reads and those it makes; zeros where there is none."""
    found = fit.weights.tensors.get(f"cnn{i}/conv1d/kernel")
    return (0, 0, 0) if found is None or found.ndim != 3 else tuple(found.shape)
