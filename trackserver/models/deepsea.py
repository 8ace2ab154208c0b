"""DeepSEA: 919 chromatin profiles of the middle of a 1,000-bp window.

Zhou and Troyanskaya, "Predicting effects of noncoding variants with deep learning-based sequence model", Nature
Methods 2015; http://deepsea.princeton.edu. The files read here are the Kipoi copies of the Torch7 weights
(https://github.com/kipoi/models, DeepSEA; https://zenodo.org/record/1466993). Details that the paper does not
mention:

1. The activation is a threshold: values not above 0 become 0.000001. It has to come before the max-pool, because it
   lifts negative values above positive values smaller than that.
2. The dense layer has 925 units, six more than there are profiles.
3. The file's first layer has its channels in the order A G C T; its kernel is reordered once, on import.
4. The published copy for prediction averages both strands; here the caller does that, as for every model.
5. Dropout has no effect in prediction and is omitted.

There is one value per window. It describes the window's centre (the paper's labels cover the middle 200 bp), however
wide the bin the caller assigns it to.
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
POOL = 4  # after all convolutions but the last
FLOOR = 1e-6
# Layer numbers in the file of the three convolutions.
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
    """One-hot (B, 4, L) -> probabilities (B, T, n); L covers one window, or n windows `window - 2 * crop` bp apart."""

    def __init__(self, config: DeepSEAConfig, n_tracks: int, crop: int = 0):
        super().__init__()
        self.config = config
        self.windows = Windows(config.window, config.window - 2 * crop, STEPS)
        widths = (4, *config.channels)
        self.convs = nn.ModuleList(nn.Conv1d(widths[i], widths[i + 1], KERNEL) for i in range(len(CONVS)))
        self.hidden = nn.Linear(widths[-1] * config.positions, config.hidden)
        self.head = nn.Linear(config.hidden, n_tracks)

    def shares_windows(self, stride: int) -> bool:
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
    """Build the network of a card's configuration; `crop` sets the stride of the windows and changes no value."""
    return DeepSEA(read_config(DeepSEAConfig, config, "DeepSEA"), n_tracks, crop)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate a published file, whose layers are numbered as in the Torch7 model, perhaps nested in another.

    The file that averages the strands (`2.`) and the one that does not (`1.`) hold the same network.
    """
    choose_head(choice, "DeepSEA", "profiles")
    fit, prefix = Fit(weights, "DeepSEA"), find_prefix(weights, "12.1.weight")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, number in enumerate(CONVS):
        kernel = fit.take(f"{prefix}{number}.weight", None, channels[-1] if channels else 4, 1, KERNEL)[:, :, 0]
        channels.append(len(kernel))
        state[f"convs.{i}.weight"] = kernel if i else reorder_to_acgt(kernel, choice.alphabet)
        state[f"convs.{i}.bias"] = fit.take(f"{prefix}{number}.bias", channels[-1])
    state |= take_dense(fit, channels[-1], hidden=f"{prefix}12.1", head=f"{prefix}14.1")
    fit.check_all_taken()
    hidden, flattened = state["hidden.weight"].shape
    window = roundest_window(flattened // channels[-1], STEPS)
    return TranslatedWeights({"channels": channels, "hidden": hidden, "window": window}, state)
