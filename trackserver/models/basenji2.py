"""Basenji2: 5,313 human or 1,643 mouse tracks in bins of 128 bp, from 131,072 bp.

Leaf to root: `PooledBlock`, `DilatedBlock`, `Basenji2`, `translate` (its Keras file).

Kelley, "Cross-species regulatory sequence activity prediction", PLoS Computational Biology 2020;
https://github.com/calico/basenji, manuscripts/cross2020. What summaries of it leave out or have otherwise:

1. The GELU is x * sigmoid(1.702 x). Calico's code has the tanh form since April 2022, the published weights are
   older; with the wrong one outputs near 1 are up to 0.19 off. A full Keras file says which it was trained with.
2. A GELU comes first of all, on the one-hot itself.
3. The norm comes before the max-pool and may turn a channel around, so the two cannot be exchanged.
4. Dilations grow by half and are rounded to even after every step, from the rounded value: 1, 2, 3, 4, 6, 9, 14 ...
5. No squeeze-excite, no attention, no layer norm: 30 convolutions, each with a batch norm, and a dense layer.
6. The outer bins (64 at each side in the published files, of 1,024) are left out before the last convolution.

Human and mouse are two files, tuned apart: their trunks differ as well. Dropout does nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError
from trackserver.models import keras
from trackserver.models.layers import (
    BatchNorm,
    SameConv,
    check_choice,
    check_sizes,
    crop_bins,
    max_pool,
    read_config,
    sigmoid_gelu,
    tanh_gelu,
    whole_bins,
    written,
)
from trackserver.models.weights import Choice, Fit, Translated, Weights, layer_name, weight_name

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-3  # of the batch norms: Keras' default
GELU = {"sigmoid": sigmoid_gelu, "tanh": tanh_gelu}


def dilations_of(n_blocks: int) -> tuple[int, ...]:
    """The published rule, `rate_mult` 1.5 with `round`."""
    rates = [1]
    while len(rates) < n_blocks:
        rates.append(round(rates[-1] * 1.5))  # Python rounds halves to even, as numpy does
    return tuple(rates[:n_blocks])


@dataclass(frozen=True)
class Basenji2Config:
    """Sizes; the defaults are params_human.json's of manuscripts/cross2020."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stem_channels: int = 288
    stem_kernel: int = 15
    tower_channels: tuple[int, ...] = (339, 399, 470, 554, 652, 768)  # 339 * 1.1776 ** i, rounded
    tower_kernel: int = 5
    dilations: tuple[int, ...] = dilations_of(11)
    residual_channels: int = 384  # half the trunk's
    hidden: int = 1536  # twice the trunk's
    gelu: Literal["sigmoid", "tanh"] = "sigmoid"  # what the published weights were trained with

    def __post_init__(self) -> None:
        sizes = (self.stem_channels, self.stem_kernel, *self.tower_channels, self.tower_kernel, *self.dilations)
        check_sizes("Basenji2", *sizes, self.residual_channels, self.hidden)

    @property
    def bin_width(self) -> int:
        return 2 ** (1 + len(self.tower_channels))


class PooledBlock(nn.Module):
    """(B, C, L) -> (B, C', L // 2)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, gelu: str):
        super().__init__()
        self.gelu = GELU[gelu]
        self.conv = SameConv(channels_in, channels, kernel, bias=False)
        self.norm = BatchNorm(channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(self.norm(self.conv(self.gelu(x))), 2)


class DilatedBlock(nn.Module):
    """(B, C, L) -> (B, C, L): the input and what a dilated convolution adds to it."""

    def __init__(self, channels: int, inner: int, dilation: int, gelu: str):
        super().__init__()
        self.gelu = GELU[gelu]
        self.conv = SameConv(channels, inner, 3, dilation=dilation, bias=False)
        self.norm = BatchNorm(inner, EPS)
        self.back = nn.Conv1d(inner, channels, 1, bias=False)
        self.back_norm = BatchNorm(channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        added = self.norm(self.conv(self.gelu(x)))
        return x + self.back_norm(self.back(self.gelu(added)))


class Basenji2(nn.Module):
    """One-hot (B, 4, L) -> (B, T, L // 128 - 2 crop); `crop` in bins. The tracks' units are coverage."""

    def __init__(self, config: Basenji2Config, n_tracks: int, crop: int):
        super().__init__()
        self.gelu, self.crop = GELU[config.gelu], crop
        self.stem = PooledBlock(4, config.stem_channels, config.stem_kernel, config.gelu)
        widths = (config.stem_channels, *config.tower_channels)
        self.tower = nn.Sequential(
            *(PooledBlock(before, after, config.tower_kernel, config.gelu) for before, after in pairwise(widths))
        )
        self.residual = nn.Sequential(
            *(DilatedBlock(widths[-1], config.residual_channels, rate, config.gelu) for rate in config.dilations)
        )
        self.last = nn.Conv1d(widths[-1], config.hidden, 1, bias=False)
        self.last_norm = BatchNorm(config.hidden, EPS)
        self.head = nn.Conv1d(config.hidden, n_tracks, 1)

    def forward(self, one_hot: Tensor) -> Tensor:
        x = self.residual(self.tower(self.stem(one_hot)))
        x = self.last_norm(self.last(self.gelu(crop_bins(x, self.crop))))
        return F.softplus(self.head(self.gelu(x)))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Basenji2:
    checked = read_config(Basenji2Config, config, "Basenji2")
    return Basenji2(checked, n_tracks, whole_bins(crop, checked.bin_width, "Basenji2"))


def translate(weights: Weights, choice: Choice) -> Translated:
    """`model_human.h5` or `model_mouse.h5` of https://storage.googleapis.com/basenji_barnyard2/, or one like them.

    Layers are taken by their order: their names count what else was built in the session that saved them. The choice's
    `activation` is for a file of weights alone, which cannot tell its GELU; without one it is the published.
    """
    check_choice(choice, "Basenji2", "human", "mouse")
    fit = Fit(weights, "Basenji2")
    state: dict[str, Tensor] = {}
    stem = _take_conv(fit, 15, 4, None, "stem.conv", "stem.norm", state)
    width = stem
    tower: list[int] = []
    while _next_kernel(fit) == 5:
        block = f"tower.{len(tower)}"
        width = _take_conv(fit, 5, width, None, f"{block}.conv", f"{block}.norm", state)
        tower.append(width)
    inner, count = 0, 0
    while _next_kernel(fit) == 3:
        block = f"residual.{count}"
        inner = _take_conv(fit, 3, width, inner or None, f"{block}.conv", f"{block}.norm", state)
        _take_conv(fit, 1, inner, width, f"{block}.back", f"{block}.back_norm", state)
        count += 1
    hidden = _take_conv(fit, 1, width, None, "last", "last_norm", state)
    head, bias = fit.take_layer(kernel=(hidden, None), bias=(None,))
    fit.done()
    state |= {"head.weight": head.T[:, :, None], "head.bias": bias}
    config = Basenji2Config(
        stem_channels=stem,
        tower_channels=tuple(tower),
        dilations=_dilations(weights.settings, count),
        residual_channels=inner or Basenji2Config().residual_channels,
        hidden=hidden,
        gelu=_gelu(fit, choice),
    )
    return Translated(written(config), state)


def _take_conv(
    fit: Fit, kernel: int, width: int, channels: int | None, conv: str, norm: str, state: dict[str, Tensor]
) -> int:
    """Put the next convolution and its norm into the state; returns the number of channels."""
    (weight,) = fit.take_layer(kernel=(kernel, width, channels))
    made = weight.shape[2]
    gamma, beta, mean, variance = fit.take_layer(
        gamma=(made,), beta=(made,), moving_mean=(made,), moving_variance=(made,)
    )
    state |= {
        f"{conv}.weight": weight.permute(2, 1, 0),
        f"{norm}.weight": gamma,
        f"{norm}.bias": beta,
        f"{norm}.running_mean": mean,
        f"{norm}.running_var": variance,
    }
    return made


def _next_kernel(fit: Fit) -> int:
    """The length of the next layer's kernel; 0 if it has none."""
    name = fit.next_layer()
    return next(
        (
            tensor.shape[0]
            for key, tensor in fit.weights.tensors.items()
            if layer_name(key) == name and weight_name(key) == "kernel" and tensor.ndim == 3
        ),
        0,
    )


def _dilations(settings: dict[str, Any], n_blocks: int) -> tuple[int, ...]:
    """Those of the convolutions of length 3 where the file tells, else by the published rule."""
    layers = [layer.get("config", {}) for layer in settings.get("config", {}).get("layers", [])]
    told = [layer["dilation_rate"][0] for layer in layers if layer.get("kernel_size") == [3]]
    return tuple(told) if len(told) == n_blocks else dilations_of(n_blocks)


def _gelu(fit: Fit, choice: Choice) -> Literal["sigmoid", "tanh"]:
    named = keras.activations(fit.weights.settings)
    told = [gelu for name, gelu in (("GELU", "sigmoid"), ("nn.gelu approximate", "tanh")) if name in named]
    if fit.weights.settings and len(told) != 1:
        raise fit.misfit(f"of its activations ({', '.join(sorted(named)) or 'none'}) one must be a GELU known here")
    gelu = told[0] if told else choice.activation or "sigmoid"
    if gelu not in GELU:
        raise DataError(f"Basenji2's activation is 'sigmoid' or 'tanh', not '{choice.activation}'.")
    if choice.activation not in ("", gelu):
        raise DataError(f"{fit.weights.path} was trained with the {gelu} GELU, not with '{choice.activation}'.")
    return "tanh" if gelu == "tanh" else "sigmoid"
