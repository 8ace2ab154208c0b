"""Basset: the accessibility of 164 cell types over a 600-bp window.

Leaf to root: `PooledConv` (convolution, norm, max-pool, ReLU), `Basset`.

Kelley, Snoek, Rinn, "Basset: learning the regulatory code of the accessible genome with deep convolutional neural
networks", Genome Research 2016; https://github.com/davek44/Basset. The file read here is the Kipoi copy of the Torch7
weights, https://zenodo.org/record/1466068. Differences from later networks by its author:

1. The convolutions are not padded, and have a bias although a batch norm follows.
2. The dense layers are normed too, before their ReLU.
3. A convolution's ReLU comes after the max-pool here: the same values for a quarter of the work. The norm cannot be
   moved like that, because its weights can be negative.
4. Dropout has no effect in prediction and is omitted.

There is one value per window. It describes the window's centre, however wide the bin the caller assigns it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.models.layers import (
    BatchNorm,
    Step,
    check_sizes,
    max_pool,
    positions_after,
    read_config,
    roundest_window,
)
from trackserver.models.shared_stride import Windows
from trackserver.models.weights import (
    Choice,
    Fit,
    TranslatedWeights,
    Weights,
    choose_head,
    find_prefix,
    reorder_to_acgt,
    take_dense,
)

ROW_TENSORS = ("head.weight", "head.bias")

KERNELS = (19, 11, 7)
POOLS = (3, 4, 4)
STEPS = tuple(Step(kernel - 1, pool) for kernel, pool in zip(KERNELS, POOLS, strict=True))
# Layer numbers in the file of the convolutions, the dense layers and the head; all but the head precede their norm.
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
    """One-hot (B, 4, L) -> probabilities (B, T, n); L covers one window, or n windows `window - 2 * crop` bp apart."""

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

    def shares_windows(self, stride: int) -> bool:
        return stride == self.windows.stride and self.windows.overlap

    def forward(self, one_hot: Tensor) -> Tensor:
        return self.windows.values(one_hot, self.tower, self.dense1, self._profiles)

    def _profiles(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(x))
        x = F.relu(self.norm2(self.dense2(x)))
        return torch.sigmoid(self.head(x))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Basset:
    """Build the network of a card's configuration; `crop` sets the stride of the windows and changes no value."""
    return Basset(read_config(BassetConfig, config, "Basset"), n_tracks, crop)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the published file, whose layers are numbered as in the Torch7 model; counters of norms are ignored."""
    choose_head(choice, "Basset", "profiles")
    fit, prefix = Fit(weights, "Basset"), find_prefix(weights, f"{DENSE[0]}.1.weight")
    fit.ignore(r"\.num_batches_tracked$")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, (number, length) in enumerate(zip(CONVS, KERNELS, strict=True)):
        width = channels[-1] if channels else 4
        kernel = fit.take(f"{prefix}{number}.weight", None, width, length, 1)[..., 0]
        channels.append(len(kernel))
        state[f"tower.{i}.conv.weight"] = kernel if i else reorder_to_acgt(kernel, choice.alphabet)
        state[f"tower.{i}.conv.bias"] = fit.take(f"{prefix}{number}.bias", channels[-1])
        state |= _take_norm(fit, f"{prefix}{number + 1}", f"tower.{i}.norm", channels[-1])
    first, second = (f"{prefix}{number}.1" for number in DENSE)
    state |= take_dense(fit, channels[-1], dense1=first, dense2=second, head=f"{prefix}{HEAD}.1")
    hidden = [len(state["dense1.weight"]), len(state["dense2.weight"])]
    for number, name, width in zip(DENSE, ("norm1", "norm2"), hidden, strict=True):
        state |= _take_norm(fit, f"{prefix}{number + 1}", name, width)
    fit.check_all_taken()
    window = roundest_window(state["dense1.weight"].shape[1] // channels[-1], STEPS)
    return TranslatedWeights({"channels": channels, "hidden": hidden, "window": window}, state)


def _take_norm(fit: Fit, file_name: str, name: str, width: int) -> dict[str, Tensor]:
    tensors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{tensor}": fit.take(f"{file_name}.{tensor}", width) for tensor in tensors}
