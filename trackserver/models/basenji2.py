"""Basenji2: 5,313 human or 1,643 mouse tracks in bins of 128 bp, from 131,072 bp.

Leaf to root: `PooledBlock`, `DilatedBlock`, `Basenji2`, `translate` (its Keras file).

Kelley, "Cross-species regulatory sequence activity prediction", PLoS Computational Biology 2020;
https://github.com/calico/basenji, manuscripts/cross2020. Details that summaries of it omit or state differently:

1. The GELU is x * sigmoid(1.702 x). Calico's code has used the tanh form since April 2022, but the published weights
   are older; with the wrong form outputs near 1 are off by up to 0.19. A full Keras file says which one it uses.
2. The very first layer is a GELU, on the one-hot itself.
3. The norm comes before the max-pool and can flip a channel's sign, so the two cannot be swapped.
4. Each dilation is 1.5 times the previous rounded one, rounded half to even: 1, 2, 3, 4, 6, 9, 14 ...
5. No squeeze-excite, no attention, no layer norm: 30 convolutions, each with a batch norm, and a dense layer.
6. The outer bins (64 of 1,024 at each side in the published files) are cropped before the last convolution.

Human and mouse are two files that were fine-tuned separately, so their trunks differ as well. Dropout has no effect in
prediction.
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
    config_as_json,
    crop_bins,
    max_pool,
    read_config,
    sigmoid_gelu,
    tanh_gelu,
    whole_bins,
)
from trackserver.models.weights import Choice, Fit, TranslatedWeights, Weights, layer_name, weight_name

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
    """Sizes; the defaults are those of params_human.json in manuscripts/cross2020."""

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
    """(B, C, L) -> (B, C, L): the input plus the output of a dilated convolution."""

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
    """One-hot (B, 4, L) -> (B, T, L // 128 - 2 crop); `crop` in bins. Tracks are in units of coverage."""

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


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate `model_human.h5` or `model_mouse.h5` of https://storage.googleapis.com/basenji_barnyard2/, or a similar
    file.

    Layers are taken in order, because their names depend on what else the saving session had built. The choice's
    `activation` is for a file of weights only, which does not state its GELU; by default it is the published one.
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
    fit.check_all_taken()
    state |= {"head.weight": head.T[:, :, None], "head.bias": bias}
    config = Basenji2Config(
        stem_channels=stem,
        tower_channels=tuple(tower),
        dilations=_dilations(weights.settings, count),
        residual_channels=inner or Basenji2Config().residual_channels,
        hidden=hidden,
        gelu=_gelu(fit, choice),
    )
    return TranslatedWeights(config_as_json(config), state)


def _take_conv(
    fit: Fit, kernel: int, width: int, channels: int | None, conv: str, norm: str, state: dict[str, Tensor]
) -> int:
    """Add the next convolution and its norm to the state and return the number of channels."""
    (weight,) = fit.take_layer(kernel=(kernel, width, channels))
    width_out = weight.shape[2]
    gamma, beta, mean, variance = fit.take_layer(
        gamma=(width_out,), beta=(width_out,), moving_mean=(width_out,), moving_variance=(width_out,)
    )
    state |= {
        f"{conv}.weight": weight.permute(2, 1, 0),
        f"{norm}.weight": gamma,
        f"{norm}.bias": beta,
        f"{norm}.running_mean": mean,
        f"{norm}.running_var": variance,
    }
    return width_out


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
    """Read the dilations of convolutions of length 3 from the file's settings, else use the published rule."""
    layers = [layer.get("config", {}) for layer in settings.get("config", {}).get("layers", [])]
    rates = [layer["dilation_rate"][0] for layer in layers if layer.get("kernel_size") == [3]]
    return tuple(rates) if len(rates) == n_blocks else dilations_of(n_blocks)


def _gelu(fit: Fit, choice: Choice) -> Literal["sigmoid", "tanh"]:
    names = keras.activations(fit.weights.settings)
    gelus = [gelu for name, gelu in (("GELU", "sigmoid"), ("nn.gelu approximate", "tanh")) if name in names]
    if fit.weights.settings and len(gelus) != 1:
        raise fit.misfit(f"one of its activations ({', '.join(sorted(names)) or 'none'}) has to be a known GELU")
    gelu = gelus[0] if gelus else choice.activation or "sigmoid"
    if gelu not in GELU:
        raise DataError(f"Basenji2's activation is 'sigmoid' or 'tanh', not '{choice.activation}'.")
    if choice.activation not in ("", gelu):
        raise DataError(f"{fit.weights.path} was trained with the {gelu} GELU, not with '{choice.activation}'.")
    return "tanh" if gelu == "tanh" else "sigmoid"
