"""Basset: the accessibility of 164 cell types over a 600-bp window.

Leaf to root: `PooledConv` (convolution, norm, max-pool, rectifier), `Basset`.

Kelley, Snoek, Rinn, "Basset: learning the regulatory code of the accessible genome with deep convolutional neural
networks", Genome Research 2016; https://github.com/davek44/Basset. The file read here is the Kipoi copy of the Torch7
weights, https://zenodo.org/record/1466068. What a reader of later networks by its author would not expect:

1. The convolutions are not padded, and have a bias although a batch norm follows.
2. The dense layers are normalised too, before their rectifier.
3. The rectifier of a convolution comes after the max-pool here: the same values, a quarter of the work. The norm
   cannot, for its weights may be negative.
4. Dropout does nothing in prediction and is left out.

There is one value a window: it says something about the window's centre, whatever stretch the caller writes it over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.models.along import Windows
from trackserver.models.layers import (
    BatchNorm,
    Step,
    check_sizes,
    max_pool,
    positions_after,
    read_config,
    roundest_window,
)
from trackserver.models.weights import Choice, Fit, Translated, Weights, head_of, in_acgt, prefix_of, take_dense

ROW_TENSORS = ("head.weight", "head.bias")

KERNELS = (19, 11, 7)
POOLS = (3, 4, 4)
STEPS = tuple(Step(kernel - 1, pool) for kernel, pool in zip(KERNELS, POOLS, strict=True))
# Where the file keeps its convolutions, its dense layers and the head; each but the head is followed by its norm.
CONVS = (0, 4, 8)
DENSE = (13, 17)
HEAD = 21
EPS = 1e-5  # torch's own


@dataclass(frozen=True)
class BassetConfig:
    """Sizes; the defaults are the published ones (the paper's chosen network)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    channels: tuple[int, int, int] = (300, 200, 200)
    hidden: tuple[int, int] = (1000, 1000)
    window: int = 600

    def __post_init__(self) -> None:
        check_sizes("Basset", *self.channels, *self.hidden, self.positions)

    @property
    def positions(self) -> int:
        return positions_after(self.window, STEPS)


class PooledConv(nn.Module):
    """(B, C, L) -> (B, C', (L - kernel + 1) // pool)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, pool: int):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel)
        self.norm = BatchNorm(channels, EPS)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(max_pool(self.norm(self.conv(x)), self.pool))


class Basset(nn.Module):
    """One-hot (B, 4, L) -> probabilities (B, T, n); L one window, or n that lie `window - 2 * crop` bp apart."""

    def __init__(self, config: BassetConfig, n_tracks: int, crop: int = 0):
        super().__init__()
        self.config = config
        self.windows = Windows(config.window, config.window - 2 * crop, STEPS)
        widths = (4, *config.channels)
        self.tower = nn.Sequential(
            *(
                PooledConv(widths[i], widths[i + 1], kernel, pool)
                for i, (kernel, pool) in enumerate(zip(KERNELS, POOLS, strict=True))
            )
        )
        first, second = config.hidden
        self.dense1, self.norm1 = nn.Linear(widths[-1] * config.positions, first), BatchNorm(first, EPS)
        self.dense2, self.norm2 = nn.Linear(first, second), BatchNorm(second, EPS)
        self.head = nn.Linear(second, n_tracks)

    def goes_along(self, stride: int) -> bool:
        return stride == self.windows.stride and self.windows.overlap

    def forward(self, one_hot: Tensor) -> Tensor:
        return self.windows.values(one_hot, self.tower, self.dense1, self._profiles)

    def _profiles(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(x))
        x = F.relu(self.norm2(self.dense2(x)))
        return torch.sigmoid(self.head(x))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Basset:
    """A network from a card's configuration; `crop` changes no value: it tells how far apart windows lie."""
    return Basset(read_config(BassetConfig, config, "Basset"), n_tracks, crop)


def translate(weights: Weights, choice: Choice) -> Translated:
    """The published file: layers numbered as in the Torch7 model; the norms' counters, where there are any, unused."""
    head_of(choice, "Basset", "profiles")
    fit, prefix = Fit(weights, "Basset"), prefix_of(weights, f"{DENSE[0]}.1.weight")
    fit.ignore(r"\.num_batches_tracked$")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, (place, length) in enumerate(zip(CONVS, KERNELS, strict=True)):
        width = channels[-1] if channels else 4
        kernel = fit.take(f"{prefix}{place}.weight", None, width, length, 1)[..., 0]
        channels.append(len(kernel))
        state[f"tower.{i}.conv.weight"] = kernel if i else in_acgt(kernel, choice.alphabet)
        state[f"tower.{i}.conv.bias"] = fit.take(f"{prefix}{place}.bias", channels[-1])
        state |= _take_norm(fit, f"{prefix}{place + 1}", f"tower.{i}.norm", channels[-1])
    first, second = (f"{prefix}{place}.1" for place in DENSE)
    state |= take_dense(fit, channels[-1], dense1=first, dense2=second, head=f"{prefix}{HEAD}.1")
    hidden = [len(state["dense1.weight"]), len(state["dense2.weight"])]
    for place, name, width in zip(DENSE, ("norm1", "norm2"), hidden, strict=True):
        state |= _take_norm(fit, f"{prefix}{place + 1}", name, width)
    fit.done()
    window = roundest_window(state["dense1.weight"].shape[1] // channels[-1], STEPS)
    return Translated({"channels": channels, "hidden": hidden, "window": window}, state)


def _take_norm(fit: Fit, there: str, here: str, width: int) -> dict[str, Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{here}.{part}": fit.take(f"{there}.{part}", width) for part in parts}
