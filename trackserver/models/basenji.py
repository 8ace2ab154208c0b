"""Basenji: 4,229 tracks in bins of 128 bp, from 131,072 bp.

Leaf to root: `Block` (convolution, norm, ReLU, max-pool), `Basenji`, `translate` (its TensorFlow checkpoint).

Kelley, Reshef, Bileschi, Belanger, McLean, Snoek, "Sequential regulatory activity prediction across chromosomes with
convolutional neural networks", Genome Research 2018; https://github.com/calico/basenji. Details that the paper
leaves open:

1. A block is convolution, norm, ReLU, max-pool in that order, as in the code until March 2018; the published graph is
   older, as its unnamed placeholders show. Here the pool comes before the ReLU, which gives the same numbers and halves
   or quarters the work.
2. The paper's "seven dilated layers" are six dilated ones, whose output is concatenated with their input (not added to
   it), and one of kernel length 1.
3. Kernels of 22 and 6 have no middle: TensorFlow's padding puts the odd zero on the right.
4. The output is x + 1 for positive x and exp(x) otherwise, so never negative; it is neither softplus nor exp.
5. The published network crops 4,096 bp at each side, which leaves 960 bins. Dropout and batch renormalisation have no
   effect in prediction.

The checkpoint holds only tensors. Kernels, widths and the number of dense layers follow from their shapes; the pools,
and the dilations 2, 4, 8 ..., are the published ones.
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
    config_as_json,
    crop_bins,
    max_pool,
    read_config,
    whole_bins,
)
from trackserver.models.weights import Choice, Fit, TranslatedWeights, Weights

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-3  # of the batch norms: TensorFlow's default
POOLS = (1, 2, 4, 4, 4, 1)
# Tensors that only training uses: optimizer slots, counters, batch renormalisation.
UNUSED = r"/(Adam|Momentum|RMSProp)(_\d+)?$|(^|/)beta[12]_power$|(^|/)global_step$|/renorm_"


@dataclass(frozen=True)
class BasenjiConfig:
    """Sizes; the defaults are the published network's (layer by layer in the paper's supplement)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    channels: tuple[int, ...] = (312, 368, 435, 514, 607, 717)
    kernels: tuple[int, ...] = (22, 1, 6, 6, 6, 3)
    pools: tuple[int, ...] = POOLS  # 128 bp a bin
    dense_channels: int = 108  # added by each dilated layer
    dense_kernel: int = 3
    dilations: tuple[int, ...] = (2, 4, 8, 16, 32, 64)  # the last sees 8 kb to each side
    hidden: int = 1365  # channels of the layer before the tracks, as many as the dense layers end with

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.pools) > 0:
            raise DataError("Basenji needs as many channels as kernels and pools: one of each per convolution.")
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
    """One-hot (B, 4, L) -> (B, T, L // 128 - 2 crop); `crop` in bins. Tracks are in units of coverage."""

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
        # The remaining layers act on single bins, so crop before computing them.
        return exp_linear(self.head(self.last(crop_bins(x, self.crop))))


def exp_linear(x: Tensor) -> Tensor:
    """Linear (x + 1) above 0, exp(x) below, with the exponent clamped to -50 to 50 as in the TensorFlow code."""
    return torch.where(x > 0, x + 1, x.clamp(-50, 50).exp())


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Basenji:
    checked = read_config(BasenjiConfig, config, "Basenji")
    return Basenji(checked, n_tracks, whole_bins(crop, checked.bin_width, "Basenji"))


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the checkpoint `model.tf` of https://storage.googleapis.com/131k/, or a smaller one like it."""
    check_choice(choice, "Basenji", "human")
    fit = Fit(weights, "Basenji")
    fit.ignore(UNUSED)
    state: dict[str, Tensor] = {}
    width, channels = 4, []
    kernels = BasenjiConfig().kernels
    for i, kernel in enumerate(kernels):
        width = _take_block(fit, i, kernel, width, None, f"tower.{i}", state)
        channels.append(width)
    # A dense layer's output is concatenated with its input for the next layer.
    first, added, count = len(kernels), 0, 0
    while _kernel(fit, first + count + 1)[1] == width + _kernel(fit, first + count)[2]:
        added = _take_block(fit, first + count, 3, width, added or None, f"dense.{count}", state)
        width, count = width + added, count + 1
    hidden = _take_block(fit, first + count, 1, width, None, "last", state)
    if fit.has("final/dense/kernel"):
        head, name = fit.take("final/dense/kernel", hidden, None).T[:, :, None], "final/dense/bias"
    else:
        head, name = fit.take("final/conv1d/kernel", 1, hidden, None).permute(2, 1, 0), "final/conv1d/bias"
    state |= {"head.weight": head, "head.bias": fit.take(name, len(head))}
    fit.check_all_taken()
    config = BasenjiConfig(
        channels=tuple(channels),
        dense_channels=added or BasenjiConfig().dense_channels,
        dilations=tuple(2 ** (i + 1) for i in range(count)),
        hidden=hidden,
    )
    return TranslatedWeights(config_as_json(config), state)


def _take_block(
    fit: Fit, i: int, kernel: int, width: int, channels: int | None, name: str, state: dict[str, Tensor]
) -> int:
    """Add the layer `cnn{i}` to the state and return its number of channels."""
    conv = fit.take(f"cnn{i}/conv1d/kernel", kernel, width, channels)
    width_out, norm = conv.shape[2], f"cnn{i}/batch_normalization"
    state |= {
        f"{name}.conv.weight": conv.permute(2, 1, 0),
        f"{name}.norm.weight": fit.take(f"{norm}/gamma", width_out),
        f"{name}.norm.bias": fit.take(f"{norm}/beta", width_out),
        f"{name}.norm.running_mean": fit.take(f"{norm}/moving_mean", width_out),
        f"{name}.norm.running_var": fit.take(f"{norm}/moving_variance", width_out),
    }
    return width_out


def _kernel(fit: Fit, i: int) -> tuple[int, ...]:
    """Return a layer's kernel length, input and output channels; zeros if there is no such layer."""
    kernel = fit.weights.tensors.get(f"cnn{i}/conv1d/kernel")
    return (0, 0, 0) if kernel is None or kernel.ndim != 3 else tuple(kernel.shape)
