"""Sei: 21,907 chromatin profiles of a 4,096-bp window, and the 40 sequence classes that summarise them.

Leaf to root: `spline_basis`, `Stage` (a linear and a rectified pair of convolutions), `Sei`.

Chen, Wong, Troyanskaya, Zhou, "A sequence-based global map of regulatory activity for deciphering human genetics",
Nature Genetics 2022; https://github.com/FunctionLab/sei-framework. The files read here are sei.pth and
projvec_targets.npy of https://zenodo.org/record/4906997. Details that the paper does not mention:

1. A stage's linear pair has no activation, not even between its two convolutions. The next stage reads the pair's
   output plus that of the rectified pair behind it.
2. The first dilated convolution reads both pairs of the last stage, but the sum that the dilated convolutions add to
   starts from the rectified pair alone.
3. The positions are summed with 16 cubic B-splines that are not in the file; they are computed here and stored with the
   weights.
4. A sequence class's score is the length of the projection of the profiles on the class's direction, so each row is
   divided by its norm. The first 40 rows of the published projection are classes.
5. Published predictions average both strands; here the caller does that, as for every model.
6. Dropout has no effect in prediction and is omitted.

There is one value per window. It describes the window's centre, however wide the bin the caller assigns it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError
from trackserver.models.layers import check_sizes, max_pool, read_config
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

# A class has no bias.
ROW_TENSORS = ("head.weight", "head.bias")

KERNEL = 9
POOL = 4  # before every stage but the first
DILATED_KERNEL = 5
DILATIONS = (2, 4, 8, 16, 25)
DEGREE = 3
# A stage's four convolutions in the file: layer and index within it (a max-pool and a dropout may come first).
STAGES = (
    ("lconv1.0", "lconv1.1", "conv1.0", "conv1.2"),
    ("lconv2.2", "lconv2.3", "conv2.1", "conv2.3"),
    ("lconv3.2", "lconv3.3", "conv3.1", "conv3.3"),
)


@dataclass(frozen=True)
class SeiConfig:
    """Sizes; the defaults are the published ones (from the file, except the window, which no weight depends on)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    channels: tuple[int, int, int] = (480, 640, 960)
    splines: int = 16
    profiles: int = 21907  # also the width of the layer before them
    head: Literal["profiles", "classes"] = "profiles"
    window: int = 4096

    def __post_init__(self) -> None:
        check_sizes("Sei", *self.channels, self.profiles)
        if self.splines <= DEGREE or self.positions < 2:
            raise DataError(f"Sei cannot have {self.splines} cubic splines over a window of {self.window} bp.")

    @property
    def positions(self) -> int:
        return self.window // POOL ** (len(STAGES) - 1)


def spline_basis(positions: int, splines: int) -> Tensor:
    """Cubic B-splines over the positions, float32 (positions, splines); at each position they sum to 1.

    The knots are evenly spaced from the first position to the last, and those two are repeated. Computed with de Boor's
    recursion from the splines of degree 0, each of which is 1 between two knots.
    """
    x = np.arange(positions, dtype=np.float64)[:, None]
    last = positions - 1
    knots = np.concatenate([np.zeros(DEGREE), np.linspace(0, last, splines - DEGREE + 1), np.full(DEGREE, last)])
    # The last position belongs to the last interval of non-zero length.
    interval = np.minimum(np.searchsorted(knots, x, side="right") - 1, splines - 1)
    basis = (interval == np.arange(len(knots) - 1)).astype(np.float64)
    for degree in range(1, DEGREE + 1):
        first, end = knots[: -degree - 1], knots[degree + 1 :]
        rising = _share(x - first, knots[degree:-1] - first) * basis[:, :-1]
        basis = rising + _share(end - x, end - knots[1:-degree]) * basis[:, 1:]
    return torch.tensor(basis, dtype=torch.float32)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole; 0 between two coinciding knots."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


class Stage(nn.Module):
    """(B, C, L) -> two (B, C', L): the outputs of the linear pair and of the rectified pair behind it."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.linear = nn.Sequential(_conv(channels_in, channels), _conv(channels, channels))
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        linear = self.linear(x)
        return linear, F.relu(self.second(F.relu(self.first(linear))))


def _conv(channels_in: int, channels: int) -> nn.Conv1d:
    return nn.Conv1d(channels_in, channels, KERNEL, padding=KERNEL // 2)


class Sei(nn.Module):
    """One-hot (B, 4, L), L the window -> (B, T, 1): profiles as probabilities, or scores of sequence classes."""

    spline: Tensor

    def __init__(self, config: SeiConfig, n_tracks: int):
        super().__init__()
        self.config = config
        widths = (4, *config.channels)
        self.stages = nn.ModuleList(Stage(widths[i], widths[i + 1]) for i in range(len(STAGES)))
        width, reach = widths[-1], DILATED_KERNEL // 2
        self.dilated = nn.ModuleList(
            nn.Conv1d(width, width, DILATED_KERNEL, padding=reach * dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.register_buffer("spline", spline_basis(config.positions, config.splines))
        self.hidden = nn.Linear(width * config.splines, config.profiles)
        if config.head == "classes":
            self.profiles = nn.Linear(config.profiles, config.profiles)
        self.head = nn.Linear(config.profiles, n_tracks, bias=config.head == "profiles")

    def trunk(self, one_hot: Tensor) -> Tensor:
        """(B, 4, L) -> (B, C, L // 16)."""
        linear, rectified = self.stages[0](one_hot)
        for stage in self.stages[1:]:
            linear, rectified = stage(max_pool(rectified + linear, POOL))
        added = F.relu(self.dilated[0](rectified + linear))
        x = rectified + added
        for conv in self.dilated[1:]:
            x = x + F.relu(conv(x))
        return x

    def forward(self, one_hot: Tensor) -> Tensor:
        x = (self.trunk(one_hot) @ self.spline).flatten(1)
        x = F.relu(self.hidden(x))
        if self.config.head == "classes":
            return self.head(torch.sigmoid(self.profiles(x)))[:, :, None]
        return torch.sigmoid(self.head(x))[:, :, None]


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Sei:
    """Build the network of a card's configuration; `crop` is ignored: the one value is for the window's centre."""
    return Sei(read_config(SeiConfig, config, "Sei"), n_tracks)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the published file: the network alone, or inside a (multi-device) training program's module.

    The state for `classes` holds the layer of the profiles and that of the classes, from `choice.projection`.
    """
    head = choose_head(choice, "Sei", "profiles", "classes")
    fit, prefix = Fit(weights, "Sei"), find_prefix(weights, "lconv1.0.weight")
    state: dict[str, Tensor] = {}
    channels: list[int] = []
    for i, (linear0, linear1, first, second) in enumerate(STAGES):
        channels_in = channels[-1] if channels else 4
        state |= _take_conv(fit, prefix + linear0, f"stages.{i}.linear.0", None, channels_in, KERNEL)
        width = len(state[f"stages.{i}.linear.0.weight"])
        channels.append(width)
        for file_name, name in ((linear1, "linear.1"), (first, "first"), (second, "second")):
            state |= _take_conv(fit, prefix + file_name, f"stages.{i}.{name}", width, width, KERNEL)
    state["stages.0.linear.0.weight"] = reorder_to_acgt(state["stages.0.linear.0.weight"], choice.alphabet)
    width = channels[-1]
    for i in range(len(DILATIONS)):
        state |= _take_conv(fit, f"{prefix}dconv{i + 1}.1", f"dilated.{i}", width, width, DILATED_KERNEL)
    last = "profiles" if head == "classes" else "head"
    state |= take_dense(fit, width, **{"hidden": f"{prefix}classifier.0", last: f"{prefix}classifier.2"})
    fit.check_all_taken()
    profiles = len(state["hidden.weight"])
    if len(state[f"{last}.weight"]) != profiles:
        raise fit.misfit(f"its last layer gives {len(state[f'{last}.weight'])} profiles, the one before {profiles}")
    config = SeiConfig(splines=state["hidden.weight"].shape[1] // width)
    state["spline"] = spline_basis(config.positions, config.splines)
    if head == "classes":
        state["head.weight"] = _directions(choice.projection, profiles)
    sizes = {"channels": channels, "splines": config.splines, "profiles": profiles, "window": config.window}
    return TranslatedWeights(sizes | {"head": head}, state)


def _take_conv(
    fit: Fit, file_name: str, name: str, channels: int | None, channels_in: int, kernel: int
) -> dict[str, Tensor]:
    weight = fit.take(f"{file_name}.weight", channels, channels_in, kernel)
    return {f"{name}.weight": weight, f"{name}.bias": fit.take(f"{file_name}.bias", len(weight))}


def _directions(projection: Tensor | None, profiles: int) -> Tensor:
    """Normalise a projection's rows (classes, profiles) to length 1."""
    if projection is None:
        raise DataError("Sei's sequence classes also need their projection, the file projvec_targets.npy.")
    if projection.ndim != 2 or projection.shape[1] != profiles:
        shape = " x ".join(map(str, projection.shape))
        raise DataError(f"Sei's projection should have a row of {profiles} numbers for each class, but is {shape}.")
    rows = projection.double()
    norms = rows.norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(norms).all() and (norms > 0).all()):
        raise DataError("Sei's projection has a row without a direction: all zeros, or not finite numbers.")
    return (rows / norms).float()
