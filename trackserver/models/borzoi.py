"""Borzoi: 7,611 human or 2,608 mouse tracks, RNA-seq among them, in bins of 32 bp, from 524,288 bp.

Leaf to root: `ConvBlock`, `SeparableConv`, `Ascent` (a step up the U), the basis of distances, `Borzoi`, `translate`
(two kinds of file), `unsquash`. The attention itself is `layers.RelativeAttention`.

Linder, Srivastava, Yuan, Agarwal, Kelley, "Predicting RNA-seq coverage from DNA sequence as a unifying model of gene
regulation", Nature Genetics 2025; https://github.com/calico/borzoi and https://github.com/calico/baskerville; in torch
https://github.com/johahi/borzoi-pytorch. Details that the paper leaves open:

1. The first convolution has a max-pool but neither norm nor activation; all others are norm, GELU (the tanh form),
   convolution with bias.
2. The tower has one convolution per level, so nothing is residual, and 7 levels in all: 128 bp in the transformer.
3. Distances enter attention as 16 nested masks, and the same with the sign; the widths grow by a factor at which the
   16th reaches the 4,096 positions of the published window. A shorter window keeps these widths, as in borzoi-pytorch;
   Calico's code would fit them to the window, but the weights were not trained that way.
4. On the way up, positions are repeated, the tower's activations of that level are added, and a separable convolution
   follows; neither it nor the one before it is followed by an activation.
5. All norms, layer norms included, use Keras' epsilon of 1e-3.
6. Outputs are squashed: `unsquash` converts them back to coverage. The four replicates are meant to be averaged.
7. Published predictions crop 5,120 bins at each side (as in training) or 16.

Dropout has no effect in prediction. Flashzoi (rotary attention) and Borzoi Prime (a different U) are other networks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import DataError, listing
from trackserver.models import keras
from trackserver.models.layers import (
    BatchNorm,
    SameConv,
    Sizes,
    TorchReader,
    TransformerBlock,
    attention_state,
    check_choice,
    check_sizes,
    config_as_json,
    crop_bins,
    flatten_states,
    max_pool,
    read_config,
    take_block,
    tanh_gelu,
    two_sided,
    whole_bins,
)
from trackserver.models.weights import Choice, Fit, TranslatedWeights, Weights, weight_name

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-3  # of batch and layer norms: Keras' default


@dataclass(frozen=True)
class BorzoiConfig:
    """Sizes; the defaults are those of params_pred.json in calico/borzoi."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stem_channels: int = 512
    stem_kernel: int = 15
    tower_channels: tuple[int, ...] = (
        608,
        736,
        896,
        1056,
        1280,
    )  # growing by a constant ratio to 1536, in multiples of 32
    tower_kernel: int = 5
    width: int = 1536  # of the tower's last level, the transformer and the ascent
    layers: int = 8
    heads: int = 8
    key: int = 64  # per head
    value: int = 192  # per head
    features: int = 32  # of the basis of distances: 16 masks, and the same with the sign
    mlp: int = 3072  # twice the width
    span: int = 4096  # positions that the widest mask reaches, as many as in the published window
    hidden: int = 1920  # of the last layer before the tracks

    def __post_init__(self) -> None:
        if not self.tower_channels:
            raise DataError("Borzoi needs tower_channels, because the ascent reads the last of them.")
        sizes = (self.stem_channels, self.stem_kernel, *self.tower_channels, self.tower_kernel, self.width, self.layers)
        check_sizes("Borzoi", *sizes, self.heads, self.key, self.value, self.features, self.mlp, self.span, self.hidden)
        if self.features % 2:
            raise DataError(f"Borzoi's features are two equal parts, but {self.features} is odd.")

    @property
    def bin_width(self) -> int:
        return 2 ** len(self.tower_channels)


class ConvBlock(nn.Module):
    """(B, C, L) -> (B, C', L)."""

    def __init__(self, channels_in: int, channels: int, kernel: int):
        super().__init__()
        self.norm = BatchNorm(channels_in, EPS)
        self.conv = SameConv(channels_in, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(tanh_gelu(self.norm(x)))


class SeparableConv(nn.Module):
    """(B, C, L) -> (B, C, L): a kernel of 3 per channel, then a mixture of the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Ascent(nn.Module):
    """(B, C, L) and the tower's (B, C', 2 L) -> (B, C, 2 L)."""

    def __init__(self, channels: int, tower_channels: int):
        super().__init__()
        self.up = ConvBlock(channels, channels, 1)
        self.across = ConvBlock(tower_channels, channels, 1)
        self.separable = SeparableConv(channels)

    def forward(self, x: Tensor, tower: Tensor) -> Tensor:
        sum_ = self.across(tower)
        sum_.unflatten(-1, (-1, 2)).add_(self.up(x)[..., None])  # repeats each position, without a copy
        return self.separable(sum_)


@lru_cache(maxsize=8)
def basis(length: int, features: int, span: int, device: torch.device) -> Tensor:
    """(2 * length - 1, features): features of each distance from 1 - length to length - 1."""
    with torch.inference_mode(False), torch.no_grad():  # so that the cached tensor can be used in any mode
        count = features // 2
        exponent = torch.arange(1, count + 1, dtype=torch.float64, device="cpu") / count
        reach = (span + 1.0) ** exponent - 1
        distance = torch.arange(length, device="cpu")[:, None]
        return two_sided((reach > distance).float()).to(device)


class Borzoi(nn.Module):
    """One-hot (B, 4, L) -> (B, T, L // 32 - 2 crop), squashed; `crop` in bins. L is a multiple of 128 bp."""

    def __init__(self, config: BorzoiConfig, n_tracks: int, crop: int):
        super().__init__()
        self.config, self.crop = config, crop
        self.stem = SameConv(4, config.stem_channels, config.stem_kernel)
        self.tower = nn.ModuleList(
            ConvBlock(before, after, config.tower_kernel)
            for before, after in pairwise((config.stem_channels, *config.tower_channels))
        )
        width = config.width
        self.bottom = ConvBlock(config.tower_channels[-1], width, config.tower_kernel)
        self.transformer = nn.ModuleList(
            TransformerBlock(width, config.heads, config.key, config.value, config.features, config.mlp, EPS)
            for _ in range(config.layers)
        )
        self.ascent1 = Ascent(width, width)
        self.ascent0 = Ascent(width, config.tower_channels[-1])
        self.last = ConvBlock(width, config.hidden, 1)
        self.head = nn.Conv1d(config.hidden, n_tracks, 1)

    def forward(self, one_hot: Tensor) -> Tensor:
        x = self.stem(one_hot)
        for block in self.tower:
            x = block(max_pool(x, 2))
        level0 = x
        level1 = self.bottom(max_pool(level0, 2))
        x = max_pool(level1, 2).transpose(1, 2)
        distances = basis(x.shape[1], self.config.features, self.config.span, x.device)
        for attention in self.transformer:
            x = attention(x, distances)
        x = self.ascent0(self.ascent1(x.transpose(1, 2), level1), level0)
        x = self.last(crop_bins(x, self.crop))
        return F.softplus(self.head(tanh_gelu(x)))


def build(config: dict[str, Any], n_tracks: int, crop: int) -> Borzoi:
    checked = read_config(BorzoiConfig, config, "Borzoi")
    return Borzoi(checked, n_tracks, whole_bins(crop, checked.bin_width, "Borzoi"))


class PackageReader(TorchReader):
    """Reads a state dict of borzoi-pytorch: https://huggingface.co/johahi/borzoi-replicate-0 to -3."""

    def __init__(self, weights: Weights):
        super().__init__(Fit(weights, "Borzoi"))
        self.fit.ignore("num_batches_tracked$")
        rotary = next((name for name in weights.tensors if ".mha." in name), None)
        if rotary is not None:
            shape = tuple(weights.tensors[rotary].shape)
            raise self.fit.misfit(f"its {rotary} {shape} is the rotary attention of Flashzoi, which is not supported")

    def pointwise(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]:
        return self.conv(path, width_out, width, 1)

    def separable(self, path: str, width: int) -> dict[str, Tensor]:
        return {
            "depthwise.weight": self.fit.take(f"{path}.0.weight", width, 1, 3),
            "pointwise.weight": self.fit.take(f"{path}.1.weight", width, width, 1),
            "pointwise.bias": self.fit.take(f"{path}.1.bias", width),
        }

    def head(self, name: str, width: int) -> dict[str, Tensor]:
        heads = {key.removesuffix("_head.weight") for key in self.fit.weights.tensors if key.endswith("_head.weight")}
        if heads and name not in heads:
            raise DataError(f"{self.fit.weights.path} has no head '{name}'; it has {listing(sorted(heads))}.")
        self.fit.ignore(rf"^(?!{re.escape(name)}_)\w+_head\.")
        return self.conv(f"{name}_head", None, width, 1)


class KerasReader:
    """Reads Calico's `model0_best.h5` (human) and `model1_best.h5` (mouse), taking the tensors in order.

    Keras lists layers by their distance from the output, so the two branches of an ascent are interleaved.
    """

    def __init__(self, weights: Weights):
        self.fit = Fit(weights, "Borzoi")
        self.remaining = list(weights.tensors)
        if other := keras.activations(weights.settings) & {"GELU", "nn.gelu"}:
            raise self.fit.misfit(f"its activation is {other.pop()}, not the tanh GELU")

    def take(self, tensor: str, *shape: int | None) -> Tensor:
        """Take the file's next tensor, whose name has to end like this and which has to have this shape."""
        name = self.remaining.pop(0) if self.remaining else ""
        if not name.partition(":")[0].endswith(f"/{tensor}"):
            actual = f"{name} {tuple(self.fit.weights.tensors[name].shape)}" if name else "nothing more"
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.fit.misfit(f"it has {actual} where a {tensor} ({expected}) is expected")
        return self.fit.take(name, *shape)

    def has_layer(self, path: str) -> bool:
        """Whether the next layers are a norm and attention, or two pairs of a norm and a convolution."""
        if path.startswith("transformer"):
            return [weight_name(name) for name in self.remaining[2:3]] == ["r_w_bias"]
        kernels = [
            self.fit.weights.tensors[name] for name in self.remaining[4:11:6]
        ]  # a norm has 4 tensors, a convolution 2
        return len(kernels) == 2 and all(kernel.ndim == 3 and len(kernel) == 5 for kernel in kernels)

    def conv(self, path: str, width_out: int | None, width: int, kernel: int) -> dict[str, Tensor]:
        weight = self.take("kernel", kernel, width, width_out).permute(2, 1, 0)
        return {"weight": weight, "bias": self.take("bias", len(weight))}

    def linear(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]:
        weight = self.take("kernel", width, width_out).T
        return {"weight": weight, "bias": self.take("bias", len(weight))}

    def pointwise(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]:
        state = self.linear(path, width_out, width)
        return {"weight": state["weight"][:, :, None], "bias": state["bias"]}

    def norm(self, path: str, width: int) -> dict[str, Tensor]:
        mean, variance = "moving_mean", "moving_variance"
        state = self.layer_norm(path, width)
        return {**state, "running_mean": self.take(mean, width), "running_var": self.take(variance, width)}

    def layer_norm(self, path: str, width: int) -> dict[str, Tensor]:
        return {"weight": self.take("gamma", width), "bias": self.take("beta", width)}

    def attention(self, path: str, width: int, sizes: Sizes) -> tuple[dict[str, Tensor], Sizes]:
        content = self.take("r_w_bias", 1, sizes.heads, 1, sizes.key)
        heads, key = content.shape[1], content.shape[3]
        position = self.take("r_r_bias", 1, heads, 1, key)
        q, k = (self.take(f"{name}_layer/kernel", width, heads * key).T for name in "qk")
        v = self.take("v_layer/kernel", width, sizes.value and heads * sizes.value).T
        out = self.take("embedding_layer/kernel", len(v), width).T
        bias = self.take("embedding_layer/bias", width)
        r = self.take("r_k_layer/kernel", sizes.features, heads * key).T
        sizes = Sizes(heads, key, len(v) // heads, r.shape[1], sizes.mlp)
        return attention_state(content, position, q, k, v, out, bias, r), sizes

    def separable(self, path: str, width: int) -> dict[str, Tensor]:
        return {
            "depthwise.weight": self.take("depthwise_kernel", 3, width, 1).permute(1, 2, 0),
            "pointwise.weight": self.take("pointwise_kernel", 1, width, width).permute(2, 1, 0),
            "pointwise.bias": self.take("bias", width),
        }

    def head(self, name: str, width: int) -> dict[str, Tensor]:
        """Read the file's only head, which has no name."""
        return self.pointwise("head", None, width)


def translate(weights: Weights, choice: Choice) -> TranslatedWeights:
    """Translate the torch or Keras file of one replicate, or a smaller one; one head, by default `human`."""
    check_choice(choice, "Borzoi", "human", "mouse")
    is_keras = any(weight_name(name) == "gamma" for name in weights.tensors)
    reader = KerasReader(weights) if is_keras else PackageReader(weights)
    layers = {"stem": reader.conv("conv_dna.conv_layer", None, 4, 15)}
    stem = channels = len(layers["stem"]["weight"])
    tower: list[int] = []
    while reader.has_layer(f"res_tower.{2 * len(tower)}.conv_layer"):
        path, name = f"res_tower.{2 * len(tower)}", f"tower.{len(tower)}"
        channels = _take_conv_block(reader, path, name, channels, layers)
        tower.append(channels)
    width = _take_conv_block(reader, "unet1.1", "bottom", channels, layers)
    sizes, count = Sizes(), 0
    while reader.has_layer(f"transformer.{count}.1.fn.1"):
        layers[f"transformer.{count}"], sizes = take_block(reader, f"transformer.{count}", width, sizes)
        count += 1
    for level, across in ((1, width), (0, channels)):
        # in the order of the Keras file
        up, over = f"upsampling_unet{level}.0", f"horizontal_conv{level}"
        layers[f"ascent{level}.up.norm"] = reader.norm(f"{up}.norm", width)
        layers[f"ascent{level}.across.norm"] = reader.norm(f"{over}.norm", across)
        layers[f"ascent{level}.up.conv"] = reader.pointwise(f"{up}.conv_layer", width, width)
        layers[f"ascent{level}.across.conv"] = reader.pointwise(f"{over}.conv_layer", width, across)
        layers[f"ascent{level}.separable"] = reader.separable(f"separable{level}.conv_layer", width)
    layers["last.norm"] = reader.norm("final_joined_convs.0.norm", width)
    layers["last.conv"] = reader.conv("final_joined_convs.0.conv_layer", None, width, 1)
    hidden = len(layers["last.conv"]["weight"])
    layers["head"] = reader.head(choice.head or "human", hidden)
    reader.fit.check_all_taken()
    attention = {name: size for name, size in sizes._asdict().items() if size is not None}
    config = BorzoiConfig(
        stem_channels=stem, tower_channels=tuple(tower), width=width, layers=count, hidden=hidden, **attention
    )
    return TranslatedWeights(config_as_json(config), flatten_states(layers))


def _take_conv_block(
    reader: PackageReader | KerasReader, path: str, name: str, width: int, layers: dict[str, dict[str, Tensor]]
) -> int:
    """Add a block of the tower to the layers and return its number of channels."""
    layers[f"{name}.norm"] = reader.norm(f"{path}.norm", width)
    layers[f"{name}.conv"] = reader.conv(f"{path}.conv_layer", None, width, 5)
    return len(layers[f"{name}.conv"]["weight"])


def unsquash(values: Tensor, scale: Tensor, clip_soft: Tensor, power: Tensor) -> Tensor:
    """Convert Borzoi's predictions to coverage by inverting each track's transform in training.

    Training raised coverage to the power 3/4 (RNA-seq, `sum_sqrt`) or left it as it was (`sum`, `mean`), replaced the
    excess over the soft clip by its square root, and multiplied by the scale. The published replicates need this older
    transform of the two in Calico's code (`untransform_old`); the newer one shifts by 1 and squares, and gives other
    values.

    Parameters
    ----------
    values
        (B, T, bins), squashed.
    scale, clip_soft
        (T,), from the published table of targets.
    power
        (T,), 4/3 for a `sum_sqrt` track, otherwise 1.
    """
    scale, clip_soft, power = (parameter[:, None] for parameter in (scale, clip_soft, power))
    values = values / scale
    excess = (values - clip_soft).clamp(min=0)
    return torch.where(excess > 0, clip_soft + excess**2, values) ** power
