"""DeepSEA: 919 chromatin profiles of the middle of a 1,000-bp window.

Zhou and Troyanskaya, "Predicting effects of noncoding variants with deep learning-based sequence model", Nature
Methods 2015; http://deepsea.princeton.edu. The files read here are the Kipoi copies of the Torch7 weights
(https://github.com/kipoi/models, DeepSEA; https://zenodo.org/record/1466993). What a reader of the paper would not
expect:

1. The rectifier is a threshold: what is not above 0 becomes 0.000001. It must come before the max-pool, for it lifts
   a negative number above a positive one that is smaller still.
2. The dense layer has 925 units, six more than there are profiles.
3. The file's first layer takes its channels in the order A G C T; its kernel is reordered here, once.
4. The copy for prediction averages the sequence's two strands; that is left to the caller, as for every model.
5. Dropout does nothing in prediction and is left out.

There is one value a window: it says something about the window's centre (the paper's labels are of the middle 200
bp), whatever stretch the caller writes it over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.models.along import Windows
from trackserver.models.layers import Step, check_sizes, max_pool, positions_after, read_config, roundest_window
from trackserver.models.weights import (
    Choice,
    Fit,
    Translated,
    Weights,
    head_of,
    in_acgt,
    prefix_of,
    take_dense,
)

ROW_TENSORS = ("head.weight", "head.bias")

KERNEL = 8
POOL = 4  # after all convolutions but the last
FLOOR = 1e-6
# Where the file keeps its three convolutions.
CONVS = (0, 4, 8)
STEPS = (Step(KERNEL - 1, POOL), Step(KERNEL - 1, POOL), Step(KERNEL - 1, 1))


@dataclass(frozen=True)
class DeepSEAConfig:
    """Sizes; the defaults are the published ones (the paper's supplement; the dense layer as in the file)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    channels: tuple[int, int, int] = (320, 480, 960)
    hidden: int = 925  # 919 in the paper
    window: int = 1000

    def __post_init__(self) -> None:
        check_sizes("DeepSEA", *self.channels, self.hidden, self.positions)

    @property
    def positions(self) -> int:
        return positions_after(self.window, STEPS)


class DeepSEA(nn.Module):
    """One-hot (B, 4, L) -> probabilities (B, T, n); L one window, or n that lie `window - 2 * crop` bp apart."""

    def __init__(self, config: DeepSEAConfig, n_tracks: int, crop: int = 0):
        super().__init__()
        self.config = config
        self.windows = Windows(config.window, config.window - 2 * crop, STEPS)
        widths = (4, *config.channels)
        self.convs = nn.ModuleList(nn.Conv1d(widths[i], widths[i + 1], KERNEL) for i in range(len(CONVS)))
        self.hidden = nn.Linear(widths[-1] * config.positions, config.hidden)
        self.head = nn.Linear(config.hidden, n_tracks)

    def goes_along(self, stride: int) -> bool:
        return stride == self.windows.stride and self.windows.overlap

    def forward(self, one_hot: Tensor) -> Tensor:
        return self.windows.values(one_hot, self._features, self.hidden, self._profiles)

    def _features(self, x: Tensor) -> Tensor:
        for conv, step in zip(self.convs, STEPS, strict=True):
            x = max_pool(above_zero(conv(x)), step.pool)
        return x

    def _profiles(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(above_zero(x)))


def above_zero(x: Tensor) -> Tensor:
    return F.threshold(x, 0.0, FLOOR)


def build(config: dict[str, Any], n_tracks: int, crop: int) -> DeepSEA:
    """A network from a card's configuration; `crop` changes no value: it tells how far apart windows lie."""
    return DeepSEA(read_config(DeepSEAConfig, config, "DeepSEA"), n_tracks, crop)


def translate(weights: Weights, choice: Choice) -> Translated:
    """A published file: layers numbered as in the Torch7 model, which may itself be the second or third of another.

    The file that averages the strands (`2.`) and the one that does not (`1.`) hold the same network.
    """
    head_of(choice, "DeepSEA", "profiles")
    fit, prefix = Fit(weights, "DeepSEA"), prefix_of(weights, "12.1.weight")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, place in enumerate(CONVS):
        kernel = fit.take(f"{prefix}{place}.weight", None, channels[-1] if channels else 4, 1, KERNEL)[:, :, 0]
        channels.append(len(kernel))
        state[f"convs.{i}.weight"] = kernel if i else in_acgt(kernel, choice.alphabet)
        state[f"convs.{i}.bias"] = fit.take(f"{prefix}{place}.bias", channels[-1])
    state |= take_dense(fit, channels[-1], hidden=f"{prefix}12.1", head=f"{prefix}14.1")
    fit.done()
    hidden, flattened = state["hidden.weight"].shape
    window = roundest_window(flattened // channels[-1], STEPS)
    return Translated({"channels": channels, "hidden": hidden, "window": window}, state)
