"""Beluga: 2,002 chromatin profiles of the middle of a 2,000-bp window; the deeper DeepSEA used by ExPecto.

Leaf to root: `Stage` (two convolutions and a max-pool), `Beluga`.

Zhou, Theesfeld, Yao, Chen, Wong, Troyanskaya, "Deep learning sequence-based ab initio prediction of variant effects
on expression and disease risk", Nature Genetics 2018; https://github.com/FunctionLab/ExPecto. The file read here is
https://zenodo.org/record/3402406 (Kipoi, DeepSEA/beluga). Details that the paper does not mention:

1. The dense layer has 2,003 units, one more than there are profiles.
2. The file's first layer has its channels in the order A G C T; its kernel is reordered once, on import.
3. The outputs are probabilities, although some copies omit the sigmoid.
4. Dropout has no effect in prediction and is omitted.
5. The ReLU of a stage's second convolution comes after the max-pool: the same values for a quarter of the work.

There is one value per window. It describes the window's centre, however wide the bin the caller assigns it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.models.layers import Step, check_sizes, max_pool, positions_after, read_config, roundest_window
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

KERNEL = 8
STEPS = (Step(2 * (KERNEL - 1), 4), Step(2 * (KERNEL - 1), 4), Step(2 * (KERNEL - 1), 1))
# Layer numbers in the file of each stage's two convolutions.
CONVS = ((0, 2), (6, 8), (12, 14))


@dataclass(frozen=True)
class BelugaConfig:
    """Sizes; the defaults are the published file's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    channels: tuple[int, int, int] = (320, 480, 640)  # of both convolutions of a stage
    hidden: int = 2003
    window: int = 2000

    def __post_init__(self) -> None:
        check_sizes("Beluga", *self.channels, self.hidden, self.positions)

    @property
    def positions(self) -> int:
        return positions_after(self.window, STEPS)


class Stage(nn.Module):
    """(B, C, L) -> (B, C', (L - 14) // pool)."""

    def __init__(self, channels_in: int, channels: int, pool: int):
        super().__init__()
        self.first = nn.Conv1d(channels_in, channels, KERNEL)
        self.second = nn.Conv1d(channels, channels, KERNEL)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(max_pool(self.second(F.relu(self.first(x))), self.pool))


class Beluga(nn.Module):
    """One-hot (B, 4, L) -> probabilities (B, T, n); L covers one window, or n windows `window - 2 * crop` bp apart."""

    def __init__(self, config: BelugaConfig, n_tracks: int, crop: int = 0):
        super().__init__()
        self.config = config
        self.windows = Windows(config.window, config.window - 2 * crop, STEPS)
        widths = (4, *config.channels)
        self.stages = nn.Sequential(*(Stage(widths[i], widths[i + 1], step.pool) for i, step in enumerate(STEPS)))
        self.hidden = nn.Linear(widths[-1] * config.positions, config.hidden)
        self.head = nn.Linear(config.hidden, n_tracks)

    def shares_windows(self, stride: int) -> bool:
        return stride == self.windows.stride and self.windows.overlap

    def forward(self, one_hot: Tensor) -> Tensor:
        return self.windows.values(one_hot, self.stages, self.hidden, self._profiles)

    def _profiles(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(F.relu(x)))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Beluga:
    """Build the network of a card's configuration; `crop` sets the stride of the windows and changes no value."""
    return Beluga(read_config(BelugaConfig, config, "Beluga"), n_tracks, crop)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the published file, with layers numbered in `0.` (convolutions) and `1.` (dense), under `model.`."""
    choose_head(choice, "Beluga", "profiles")
    fit, prefix = Fit(weights, "Beluga"), find_prefix(weights, "1.2.1.weight")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, (first, second) in enumerate(CONVS):
        kernel = fit.take(f"{prefix}0.{first}.weight", None, channels[-1] if channels else 4, 1, KERNEL)[:, :, 0]
        width = len(kernel)
        channels.append(width)
        state[f"stages.{i}.first.weight"] = kernel if i else reorder_to_acgt(kernel, choice.alphabet)
        state[f"stages.{i}.first.bias"] = fit.take(f"{prefix}0.{first}.bias", width)
        state[f"stages.{i}.second.weight"] = fit.take(f"{prefix}0.{second}.weight", width, width, 1, KERNEL)[:, :, 0]
        state[f"stages.{i}.second.bias"] = fit.take(f"{prefix}0.{second}.bias", width)
    state |= take_dense(fit, channels[-1], hidden=f"{prefix}1.2.1", head=f"{prefix}1.4.1")
    fit.check_all_taken()
    hidden, flattened = state["hidden.weight"].shape
    window = roundest_window(flattened // channels[-1], STEPS)
    return TranslatedWeights({"channels": channels, "hidden": hidden, "window": window}, state)
