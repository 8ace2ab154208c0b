"""A small Basenji: the network that this package trains itself, in minutes on a laptop's processor.

Leaf to root: `PooledConv` (convolution, max-pool, norm, GELU), `Residual` (a dilated block), `Compact`.

After Basenji (Kelley, Reshef, Bileschi, Belanger, McLean, Snoek, "Sequential regulatory activity prediction across
chromosomes with convolutional neural networks", Genome Research 2018; https://github.com/calico/basenji). Differences:

1. Tens of channels, not hundreds: 90 thousand parameters, for training sets of megabases rather than a genome.
2. The dilated blocks are pre-activation residuals with a bottleneck, whose last convolution starts at zero, as later in
   Basenji2; the paper concatenates its layers densely.
3. GELU throughout; the paper uses ReLU.
4. The softplus is multiplied by each track's scale, its training mean: the head learns ratios, and the output is in the
   units of the data.
5. The max-pool comes before norm and GELU: the same maximum as long as a norm's weight is positive, in half the time
   per step.
6. With `activation = "sigmoid"` the outputs are probabilities, for tracks of peaks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError
from trackserver.models.layers import max_pool
from trackserver.validation import first_problem

# Tensors whose row i belongs to track i.
ROW_TENSORS = ("head.weight", "head.bias", "scale")


@dataclass(frozen=True)
class CompactConfig:
    """Sizes; the defaults suit 3 Mb of training windows in 128-bp bins without overfitting immediately."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stem_channels: int = 48  # about one motif for each strong factor in the open chromatin of a few cell types
    stem_kernel: int = 15  # a whole motif with its flanks (most are 6 to 14 bp)
    stem_pool: int = 4  # locates a motif to within 4 bp; a coarser pool would lose spacing
    tower_channels: tuple[int, ...] = (64, 64, 64)  # combinations of motifs; wider layers only overfit sooner
    tower_pools: tuple[int, ...] = (4, 4, 2)  # with the stem's 4: bins of 128 bp
    tower_kernel: int = 5  # as in the published tower
    dilations: tuple[int, ...] = (1, 2, 4)  # sees 1.1 kb to each side: an element and its flanks
    residual_channels: int = 32  # the bottleneck: half the tower's width, a quarter of the parameters
    hidden: int = 64  # one non-linear layer before the tracks
    dropout: float = 0.3  # drops whole channels, because the training set is small
    activation: Literal["softplus", "sigmoid"] = (
        "softplus"  # softplus for signal, which is not negative; sigmoid for peaks
    )

    def __post_init__(self) -> None:
        if len(self.tower_channels) != len(self.tower_pools):
            raise DataError("There must be as many tower_channels as tower_pools: one of each per convolution.")
        if self.stem_kernel % 2 == 0 or self.tower_kernel % 2 == 0:
            raise DataError("stem_kernel and tower_kernel must be odd, or the bins would be shifted by half a step.")
        sizes = (self.stem_channels, self.stem_kernel, self.stem_pool, self.tower_kernel, self.residual_channels)
        if min(*sizes, self.hidden, 1, *self.tower_channels, *self.tower_pools, *self.dilations) < 1:
            raise DataError("Every size of a compact model must be 1 or more.")
        if not 0 <= self.dropout < 1:
            raise DataError(f"dropout must be at least 0 and below 1, not {self.dropout}.")

    @property
    def bin_width(self) -> int:
        return math.prod((self.stem_pool, *self.tower_pools))


def receptive_field(config: CompactConfig) -> int:
    """Number of bp that one bin depends on; the bin itself lies in their centre."""
    reach, step = 1, 1
    tower = [(config.tower_kernel, pool) for pool in config.tower_pools]
    for kernel, pool in [(config.stem_kernel, config.stem_pool), *tower]:
        reach += (kernel - 1) * step + (pool - 1) * step
        step *= pool
    return reach + sum(2 * dilation * step for dilation in config.dilations)


def margin(config: CompactConfig) -> int:
    """Number of bp at each end of a window, in whole bins, where bins also depend on sequence beyond the window."""
    beyond = (receptive_field(config) - config.bin_width) / 2
    return math.ceil(beyond / config.bin_width) * config.bin_width


class PooledConv(nn.Module):
    """(B, C, L) -> (B, C', L // pool)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, pool: int):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(max_pool(self.conv(x), self.pool)))


class Residual(nn.Module):
    """(B, C, L) -> (B, C, L): the input plus the output of a dilated convolution, which starts at zero."""

    def __init__(self, channels: int, inner: int, dilation: int, dropout: float):
        super().__init__()
        self.norm_in = nn.BatchNorm1d(channels)
        self.conv = nn.Conv1d(channels, inner, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm_out = nn.BatchNorm1d(inner)
        self.back = nn.Conv1d(inner, channels, 1)
        self.dropout = nn.Dropout1d(dropout)
        nn.init.zeros_(self.back.weight)

    def forward(self, x: Tensor) -> Tensor:
        added = self.conv(F.gelu(self.norm_in(x)))
        added = self.back(F.gelu(self.norm_out(added)))
        return x + self.dropout(added)


class Compact(nn.Module):
    """One-hot (B, 4, L) -> (B, T, L // bin_width - 2 crop), in the units of the data; L any number of whole bins.

    `crop` is in bins, at each side.
    """

    scale: Tensor

    def __init__(self, config: CompactConfig, n_tracks: int, crop: int = 0):
        super().__init__()
        self.config, self.crop = config, crop
        self.stem = PooledConv(4, config.stem_channels, config.stem_kernel, config.stem_pool)
        widths = (config.stem_channels, *config.tower_channels)
        self.tower = nn.Sequential(
            *(
                PooledConv(before, after, config.tower_kernel, pool)
                for before, after, pool in zip(widths, widths[1:], config.tower_pools, strict=False)
            )
        )
        width = widths[-1]
        self.blocks = nn.Sequential(
            *(Residual(width, config.residual_channels, dilation, config.dropout) for dilation in config.dilations)
        )
        self.norm = nn.BatchNorm1d(width)
        self.hidden = nn.Conv1d(width, config.hidden, 1)
        self.dropout = nn.Dropout1d(config.dropout)
        self.head = nn.Conv1d(config.hidden, n_tracks, 1)
        self.register_buffer("scale", torch.ones(n_tracks))

    def shares_windows(self, stride: int) -> bool:
        """Whether no bin depends on sequence beyond its window, so that a longer window gives the same values."""
        return self.crop * self.config.bin_width >= margin(self.config)

    def logits(self, one_hot: Tensor) -> Tensor:
        """Compute the values before the activation, which the loss for peaks needs."""
        x = self.blocks(self.tower(self.stem(one_hot)))
        x = x[..., self.crop : x.shape[-1] - self.crop]
        x = F.gelu(self.dropout(self.hidden(F.gelu(self.norm(x)))))
        return self.head(x)

    def forward(self, one_hot: Tensor) -> Tensor:
        logits = self.logits(one_hot)
        if self.config.activation == "sigmoid":
            return logits.sigmoid()
        return F.softplus(logits) * self.scale[:, None]


def build(config: dict[str, Any], n_tracks: int, crop: int = 0) -> Compact:
    """Build a compact model of a card's configuration with random weights; `crop` in bp at each side."""
    checked = read_config(config)
    return Compact(checked, n_tracks, crop // checked.bin_width)


def read_config(config: dict[str, Any]) -> CompactConfig:
    """Check a configuration from JSON or TOML.

    Raises
    ------
    DataError
        A size is unknown or impossible.
    """
    try:
        # By way of JSON, where a list is accepted as a tuple while a quoted number is still an error.
        return TypeAdapter(CompactConfig).validate_json(json.dumps(config))
    except ValidationError as error:
        raise DataError(f"Not a compact model's configuration: {first_problem(error)}.") from None
