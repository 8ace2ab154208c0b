"""ChromBPNet: base-resolution chromatin accessibility of the middle 1,000 bp of a 2,114-bp window, in reads per base.

Leaf to root: `BPNet` (one network: logits of the profile, logarithm of its total), `ChromBPNet`.

Pampari et al., "ChromBPNet: bias factorized, base-resolution deep learning models of chromatin accessibility reveal
cis-regulatory sequence syntax, transcription factor footprints and regulatory variants", bioRxiv 2024;
https://github.com/kundajelab/chrombpnet. The networks are BPNets (Avsec et al., Nature Genetics 2021). The files
read here are Keras h5: chrombpnet.h5, chrombpnet_nobias.h5, bias_model_scaled.h5. Details that the paper does not
mention:

1. The full model is two BPNets side by side, one for the chromatin and one for the enzyme's bias: the logits of their
   profiles are added, and so are their totals (their logarithms by logsumexp).
2. No convolution is padded; each network's output is cropped to the same width. The total is computed from all
   positions left after the dilated convolutions, which are more than the profile's.
3. Each dilated convolution goes through a ReLU before it is added to its input, cropped to the same positions.
4. The signal is the profile (softmax over the published width) times the exponential of the log-total. Because of
   training on log(1 + reads), the exponential is one more than the reads; the published tracks do not correct for that.

The total refers to the published window: a longer window would spread the reads of 1,000 bp over more positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError, listing
from trackserver.models.layers import check_sizes, crop_bins, read_config
from trackserver.models.shared_stride import count_windows, each_window
from trackserver.models.weights import (
    Choice,
    Fit,
    TranslatedWeights,
    Weights,
    choose_head,
    layer_name,
    reorder_to_acgt,
    weight_name,
)

# There is one track, so there are no rows to choose from.
ROW_TENSORS: tuple[str, ...] = ()

KERNEL = 21
PROFILE_KERNEL = 75
# Name of the chromatin network in a file of both; the bias network's name depends on the session that saved it.
NO_BIAS_NAME = "model_wo_bias"


@dataclass(frozen=True)
class BPNetConfig:
    """Sizes; the defaults are the chromatin network's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    channels: int = 512
    dilated: int = 8  # dilations of 2, 4 ... 256: sees 557 bp to each side

    def __post_init__(self) -> None:
        check_sizes("ChromBPNet", self.channels, self.dilated)

    @property
    def reach(self) -> int:
        """Positions lost at each side to the convolutions of the profile."""
        return KERNEL // 2 + sum(2**i for i in range(1, self.dilated + 1)) + PROFILE_KERNEL // 2


@dataclass(frozen=True)
class ChromBPNetConfig:
    """Sizes; the defaults are the published ones (chrombpnet's training pipeline)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    networks: tuple[BPNetConfig, ...] = (BPNetConfig(), BPNetConfig(128, 4))  # chromatin, bias; or one of them
    window: int = 2114
    crop: int = 557  # at each side, which leaves a profile of 1,000 bp

    def __post_init__(self) -> None:
        if len(self.networks) not in (1, 2):
            raise DataError(f"A ChromBPNet has one network or two, not {len(self.networks)}.")
        reach = max(network.reach for network in self.networks)
        if self.crop < reach or self.window <= 2 * self.crop:
            raise DataError(
                f"A ChromBPNet that sees {reach} bp to each side cannot crop {self.crop} bp at each side of "
                f"{self.window} bp."
            )


class BPNet(nn.Module):
    """One-hot (B, 4, L) -> logits of the profile (B, L - 2 crop), logarithm of the total (B, 1)."""

    def __init__(self, config: BPNetConfig, crop: int):
        super().__init__()
        # Cropped before the profile's convolution, to save its work.
        self.extra_crop = crop - config.reach
        width = config.channels
        self.stem = nn.Conv1d(4, width, KERNEL)
        self.dilated = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2 ** (i + 1)) for i in range(config.dilated))
        self.profile = nn.Conv1d(width, 1, PROFILE_KERNEL)
        self.total = nn.Linear(width, 1)

    def forward(self, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        x = self._trunk(one_hot)
        return self._logits(x), self.total(x.mean(-1))

    def predict_windows(self, one_hot: Tensor, n: int, stride: int) -> tuple[Tensor, Tensor]:
        """Like `forward`, for n windows `stride` bp apart: (B, n, window - 2 crop), (B, n, 1)."""
        x = self._trunk(one_hot)
        means = each_window(x, n, stride).mean(-1)
        return each_window(self._logits(x), n, stride), self.total(means.transpose(1, 2))

    def _trunk(self, one_hot: Tensor) -> Tensor:
        x = F.relu(self.stem(one_hot))
        for i, conv in enumerate(self.dilated):
            x = crop_bins(x, 2 ** (i + 1)) + F.relu(conv(x))
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return self.profile(crop_bins(x, self.extra_crop))[:, 0]


class ChromBPNet(nn.Module):
    """One-hot (B, 4, L) -> reads per base (B, 1, L - 2 crop), of one track.

    L covers one window, or several `window - 2 * crop` bp apart. `crop` is at least the published one; a larger crop
    drops values and changes none.
    """

    def __init__(self, config: ChromBPNetConfig, crop: int):
        super().__init__()
        self.config, self.crop, self.stride = config, crop, config.window - 2 * crop
        self.networks = nn.ModuleList(BPNet(network, config.crop) for network in config.networks)

    def profile_and_logcount(self, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the profile over its published width (B, L - 2 config.crop), logarithm of its total (B, 1)."""
        return combine_networks(network(one_hot) for network in self.networks)

    def shares_windows(self, stride: int) -> bool:
        return stride == self.stride

    def forward(self, one_hot: Tensor) -> Tensor:
        n = count_windows(one_hot.shape[-1], self.config.window, self.stride)
        if n == 1:
            return self._signal(*self.profile_and_logcount(one_hot))[:, None]
        networks = cast("Iterable[BPNet]", self.networks)
        windows = combine_networks(network.predict_windows(one_hot, n, self.stride) for network in networks)
        return self._signal(*windows).flatten(1)[:, None]

    def _signal(self, profile: Tensor, total: Tensor) -> Tensor:
        return crop_bins(profile.softmax(-1) * total.exp(), self.crop - self.config.crop)


def combine_networks(outputs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Combine the networks' logits of the profile and logarithms of the total."""
    (profile, total), *others = outputs
    for other_profile, other_total in others:
        profile, total = profile + other_profile, torch.logaddexp(total, other_total)
    return profile, total


def build(config: dict[str, Any], n_tracks: int, crop: int) -> ChromBPNet:
    checked = read_config(ChromBPNetConfig, config, "ChromBPNet")
    if n_tracks != 1:
        raise DataError(f"A ChromBPNet predicts one track, not {n_tracks}.")
    if crop < checked.crop:
        raise DataError(f"A crop of {crop} bp is less than this ChromBPNet's own crop of {checked.crop} bp.")
    return ChromBPNet(checked, crop)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate a published file, taking layers by order and shape, because their names depend on the saving session.

    `choice.head` : for a file with both networks `full` (the default), `nobias` or `bias`. A file with one network does
    not state which one it is: it is accepted as either of the two, but not as `full`.
    """
    head = choose_head(choice, "ChromBPNet", "full", "nobias", "bias") if choice.head else ""
    fit = Fit(weights, "ChromBPNet")
    parts = _choose_networks(fit, head)
    networks: list[BPNetConfig] = []
    state: dict[str, Tensor] = {}
    for i in range(len(parts)):
        network, tensors = _take_network(fit, choice.alphabet)
        networks.append(network)
        state |= {f"networks.{i}.{name}": tensor for name, tensor in tensors.items()}
    fit.check_all_taken()
    window, crop = _geometry(fit, parts, networks)
    return TranslatedWeights(asdict(ChromBPNetConfig(tuple(networks), window, crop)), state)


def _choose_networks(fit: Fit, head: str) -> list[str]:
    """Name the nested models to take, in the file's order; a single empty name if the file has none."""
    first = next(iter(fit.weights.tensors), "kernel")
    if weight_name(first) != "kernel":  # from another framework, with other names
        shape = " x ".join(map(str, fit.weights.tensors[first].shape))
        raise fit.misfit(f"it should begin with a kernel ({KERNEL} x 4 x any) but begins with {first} ({shape})")
    nested = list(dict.fromkeys(name.split("/")[0] for name in fit.weights.tensors if name.count("/") > 1))
    if not nested:
        if head == "full":
            raise fit.misfit("it holds one network, but the full model has two; install it as nobias or bias")
        return [""]
    if len(nested) != 2:
        raise fit.misfit(f"it should hold two networks but holds {len(nested)}: {listing(nested)}")
    if head in ("", "full"):
        return nested
    if (NO_BIAS_NAME in nested[0]) == (NO_BIAS_NAME in nested[1]):
        raise fit.misfit(f"neither of its networks, {nested[0]} and {nested[1]}, is called {NO_BIAS_NAME}")
    names = [name for name in nested if (NO_BIAS_NAME in name) == (head == "nobias")]
    fit.ignore("^(?!" + re.escape(names[0]) + "/)")
    return names


def _take_network(fit: Fit, alphabet: str) -> tuple[BPNetConfig, dict[str, Tensor]]:
    """Take the next network; a kernel (k, in, out) becomes (out, in, k)."""
    layers = {"stem": fit.take_layer(kernel=(KERNEL, 4, None), bias=(None,))}
    width = layers["stem"][0].shape[2]
    dilated = 0
    while dilated == 0 or _next_kernel(fit) == 3:
        layers[f"dilated.{dilated}"] = fit.take_layer(kernel=(3, width, width), bias=(width,))
        dilated += 1
    layers["profile"] = fit.take_layer(kernel=(PROFILE_KERNEL, width, 1), bias=(1,))
    layers["total"] = fit.take_layer(kernel=(width, 1), bias=(1,))
    state: dict[str, Tensor] = {}
    for name, (kernel, bias) in layers.items():
        state |= {f"{name}.weight": kernel.permute(*reversed(range(kernel.ndim))), f"{name}.bias": bias}
    state["stem.weight"] = reorder_to_acgt(state["stem.weight"], alphabet)
    return BPNetConfig(width, dilated), state


def _next_kernel(fit: Fit) -> int:
    """Return the length of the next layer's kernel; 0 if it has none."""
    layer = fit.next_layer()
    kernels = (tensor for name, tensor in fit.weights.tensors.items()
               if layer_name(name) == layer and weight_name(name) == "kernel")  # fmt: skip
    return next((len(kernel) for kernel in kernels), 0)


def _geometry(fit: Fit, parts: Sequence[str], networks: Sequence[BPNetConfig]) -> tuple[int, int]:
    """Return the window and its crop at each side; the published ones if the file holds only weights.

    Raises
    ------
    DataError
        A layer's configuration is not that of a ChromBPNet.
    """
    if not fit.weights.settings:
        return ChromBPNetConfig.window, ChromBPNetConfig.crop
    try:
        return _read_geometry(fit, parts, networks)
    except (LookupError, TypeError, AttributeError):
        raise fit.misfit("its layers' configuration is not one of Keras'") from None


def _read_geometry(fit: Fit, parts: Sequence[str], networks: Sequence[BPNetConfig]) -> tuple[int, int]:
    layers = fit.weights.settings["config"]["layers"]
    nested = {layer["config"]["name"]: layer["config"].get("layers") for layer in layers}
    crops = []
    for part, network in zip(parts, networks, strict=True):
        own_layers = nested[part] if part else layers
        _check_convolutions(fit, own_layers, network.dilated)
        # The input of a dilated convolution is cropped by the positions it loses, and the profile to its width.
        cropping = [layer["config"]["cropping"][0] for layer in own_layers if layer["class_name"] == "Cropping1D"]
        crops.append(KERNEL // 2 + PROFILE_KERNEL // 2 + sum(cropping))
    if len(set(crops)) > 1:
        raise fit.misfit(f"its networks crop {crops[0]} and {crops[1]} bp at each side, which should be equal")
    shape = next(layer["config"]["batch_input_shape"] for layer in layers if layer["class_name"] == "InputLayer")
    # The length is None if the network takes any window.
    return ChromBPNetConfig.window if shape[1] is None else int(shape[1]), crops[0]


def _check_convolutions(fit: Fit, layers: list[dict[str, Any]], dilated: int) -> None:
    configs = [layer["config"] for layer in layers if layer["class_name"] == "Conv1D"]
    expected = [(1, "relu"), *((2**i, "relu") for i in range(1, dilated + 1)), (1, "linear")]
    for config, (dilation, activation) in zip(configs, expected, strict=False):
        actual = (config["dilation_rate"][0], config["activation"], config["padding"])
        if actual != (dilation, activation, "valid"):
            raise fit.misfit(
                f"{config['name']} should have dilation {dilation}, activation {activation} and padding valid but has "
                f"{actual[0]}, {actual[1]} and {actual[2]}"
            )
    if len(configs) != len(expected):
        raise fit.misfit(f"it should have {len(expected)} convolutions but lists {len(configs)}")
