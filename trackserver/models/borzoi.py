"""Borzoi: 7,611 human or 2,608 mouse tracks, RNA-seq among them, in bins of 32 bp, from 524,288 bp.

Leaf to root: `ConvBlock`, `SeparableConv`, `Ascent` (a step up the U), the basis of distances, `Borzoi`, `translate`
(two kinds of file), `unsquash`. The attention itself is `layers.RelativeAttention`.

Linder, Srivastava, Yuan, Agarwal, Kelley, "Predicting RNA-seq coverage from DNA sequence as a unifying model of gene
regulation", Nature Genetics 2025; https://github.com/calico/borzoi and https://github.com/calico/baskerville; in torch
https://github.com/johahi/borzoi-pytorch. What the paper leaves open:

1. The first convolution has a max-pool but neither norm nor activation; all others are norm, GELU (the tanh form),
   convolution with bias.
2. The tower has one convolution a level, hence nothing residual, and 7 levels in all: 128 bp in the transformer.
3. Distances enter attention as 16 nested masks and the same with the sign; the widths grow by a factor that makes the
   16th reach the 4,096 positions of the published window. A shorter window keeps these widths, as in borzoi-pytorch;
   Calico's code would fit them to the window, whose weights were not trained so.
4. Going up, positions are repeated, what the tower had there is added, and a separable convolution follows; neither
   it nor the one before has an activation after it.
5. Norms keep Keras' epsilon of 1e-3, layer norms too.
6. What comes out is squashed: `unsquash` leads back to coverage. Four replicates are meant to be averaged.
7. Published predictions leave out 5,120 bins at each side (training's view) or 16.

Dropout does nothing here. Flashzoi (rotary attention) and Borzoi Prime (another U) are other networks.
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
    TorchSource,
    TransformerBlock,
    attention_state,
    check_choice,
    check_sizes,
    crop_bins,
    flat,
    max_pool,
    read_config,
    take_block,
    tanh_gelu,
    two_sided,
    whole_bins,
    written,
)
from trackserver.models.weights import Choice, Fit, Translated, Weights, weight_name

ROW_TENSORS = ("head.weight", "head.bias")
EPS = 1e-3  # of batch and layer norms: Keras' default


@dataclass(frozen=True)
class BorzoiConfig:
    """Sizes; the defaults are params_pred.json's of calico/borzoi."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    stem_channels: int = 512
    stem_kernel: int = 15
    tower_channels: tuple[int, ...] = (608, 736, 896, 1056, 1280)  # even steps of ratio to 1536, in multiples of 32
    tower_kernel: int = 5
    width: int = 1536  # of the tower's last level, the transformer and the way up
    layers: int = 8
    heads: int = 8
    key: int = 64  # of each head
    value: int = 192  # of each head
    features: int = 32  # of the basis of distances: 16 masks, and the same with the sign
    mlp: int = 3072  # twice the width
    span: int = 4096  # positions that the widest mask reaches: the transformer's in the published window
    hidden: int = 1920  # of the last layer before the tracks

    def __post_init__(self) -> None:
        if not self.tower_channels:
            raise DataError("Borzoi needs tower_channels: the last are what the way up takes from the tower.")
        sizes = (self.stem_channels, self.stem_kernel, *self.tower_channels, self.tower_kernel, self.width, self.layers)
        check_sizes("Borzoi", *sizes, self.heads, self.key, self.value, self.features, self.mlp, self.span, self.hidden)
        if self.features % 2:
            raise DataError(f"Borzoi's features are two equal parts, which {self.features} cannot be.")

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
    """(B, C, L) -> (B, C, L): each channel's own kernel of 3, then a mixture of the channels."""

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
        sum_.unflatten(-1, (-1, 2)).add_(self.up(x)[..., None])  # each position twice, without a copy of its own
        return self.separable(sum_)


@lru_cache(maxsize=8)
def basis(length: int, features: int, span: int, device: torch.device) -> Tensor:
    """(2 * length - 1, features): what is known of a distance, from 1 - length to length - 1."""
    with torch.inference_mode(False), torch.no_grad():  # a tensor that any mode may use later
        count = features // 2
        growth = torch.arange(1, count + 1, dtype=torch.float64, device="cpu") / count
        reach = (span + 1.0) ** growth - 1
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


class PackageSource(TorchSource):
    """A state dict of borzoi-pytorch: https://huggingface.co/johahi/borzoi-replicate-0 to -3."""

    def __init__(self, weights: Weights):
        super().__init__(Fit(weights, "Borzoi"))
        self.fit.ignore("num_batches_tracked$")
        rotary = next((name for name in weights.tensors if ".mha." in name), None)
        if rotary is not None:
            shape = tuple(weights.tensors[rotary].shape)
            raise self.fit.misfit(f"its {rotary} {shape} is the rotary attention of Flashzoi, which is not known here")

    def pointwise(self, path: str, made: int | None, width: int) -> dict[str, Tensor]:
        return self.conv(path, made, width, 1)

    def separable(self, path: str, width: int) -> dict[str, Tensor]:
        return {
            "depthwise.weight": self.fit.take(f"{path}.0.weight", width, 1, 3),
            "pointwise.weight": self.fit.take(f"{path}.1.weight", width, width, 1),
            "pointwise.bias": self.fit.take(f"{path}.1.bias", width),
        }

    def head(self, wanted: str, width: int) -> dict[str, Tensor]:
        heads = {
            name.removesuffix("_head.weight") for name in self.fit.weights.tensors if name.endswith("_head.weight")
        }
        if heads and wanted not in heads:
            raise DataError(f"{self.fit.weights.path} has no head '{wanted}'; it has {listing(sorted(heads))}.")
        self.fit.ignore(rf"^(?!{re.escape(wanted)}_)\w+_head\.")
        return self.conv(f"{wanted}_head", None, width, 1)


class KerasSource:
    """Calico's `model0_best.h5` (human) and `model1_best.h5` (mouse), whose tensors are taken by their order.

    Keras lists layers by how far from the output they stand: the two branches of a step up the U are interleaved.
    """

    def __init__(self, weights: Weights):
        self.fit = Fit(weights, "Borzoi")
        self.left = list(weights.tensors)
        if other := keras.activations(weights.settings) & {"GELU", "nn.gelu"}:
            raise self.fit.misfit(f"its activation is {other.pop()}, not the tanh GELU")

    def take(self, tensor: str, *shape: int | None) -> Tensor:
        """The next tensor of the file, which must end in this name and have this shape."""
        name = self.left.pop(0) if self.left else ""
        if not name.partition(":")[0].endswith(f"/{tensor}"):
            found = f"{name} {tuple(self.fit.weights.tensors[name].shape)}" if name else "nothing more"
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.fit.misfit(f"it has {found} where a {tensor} ({wanted}) is expected")
        return self.fit.take(name, *shape)

    def holds(self, path: str) -> bool:
        """Whether the next layers are a norm and attention, or a norm and a convolution with another such after it."""
        if path.startswith("transformer"):
            return [weight_name(name) for name in self.left[2:3]] == ["r_w_bias"]
        kernels = [self.fit.weights.tensors[name] for name in self.left[4:11:6]]  # a norm has 4 tensors, then come 2
        return len(kernels) == 2 and all(kernel.ndim == 3 and len(kernel) == 5 for kernel in kernels)

    def conv(self, path: str, made: int | None, width: int, kernel: int) -> dict[str, Tensor]:
        weight = self.take("kernel", kernel, width, made).permute(2, 1, 0)
        return {"weight": weight, "bias": self.take("bias", len(weight))}

    def linear(self, path: str, made: int | None, width: int) -> dict[str, Tensor]:
        weight = self.take("kernel", width, made).T
        return {"weight": weight, "bias": self.take("bias", len(weight))}

    def pointwise(self, path: str, made: int | None, width: int) -> dict[str, Tensor]:
        state = self.linear(path, made, width)
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
        found = Sizes(heads, key, len(v) // heads, r.shape[1], sizes.mlp)
        return attention_state(content, position, q, k, v, out, bias, r), found

    def separable(self, path: str, width: int) -> dict[str, Tensor]:
        return {
            "depthwise.weight": self.take("depthwise_kernel", 3, width, 1).permute(1, 2, 0),
            "pointwise.weight": self.take("pointwise_kernel", 1, width, width).permute(2, 1, 0),
            "pointwise.bias": self.take("bias", width),
        }

    def head(self, wanted: str, width: int) -> dict[str, Tensor]:
        """The file's only one, which is not named."""
        return self.pointwise("head", None, width)


def translate(weights: Weights, choice: Choice) -> Translated:
    """The torch or the Keras file of one replicate, or a smaller one; of one head, by default `human`."""
    check_choice(choice, "Borzoi", "human", "mouse")
    is_keras = any(weight_name(name) == "gamma" for name in weights.tensors)
    source = KerasSource(weights) if is_keras else PackageSource(weights)
    layers = {"stem": source.conv("conv_dna.conv_layer", None, 4, 15)}
    stem = at = len(layers["stem"]["weight"])
    tower: list[int] = []
    while source.holds(f"res_tower.{2 * len(tower)}.conv_layer"):
        at = _take_conv_block(source, f"res_tower.{2 * len(tower)}", f"tower.{len(tower)}", at, layers)
        tower.append(at)
    width = _take_conv_block(source, "unet1.1", "bottom", at, layers)
    sizes, count = Sizes(), 0
    while source.holds(f"transformer.{count}.1.fn.1"):
        layers[f"transformer.{count}"], sizes = take_block(source, f"transformer.{count}", width, sizes)
        count += 1
    for level, across in ((1, width), (0, at)):
        # In the order Keras has them.
        up, over = f"upsampling_unet{level}.0", f"horizontal_conv{level}"
        layers[f"ascent{level}.up.norm"] = source.norm(f"{up}.norm", width)
        layers[f"ascent{level}.across.norm"] = source.norm(f"{over}.norm", across)
        layers[f"ascent{level}.up.conv"] = source.pointwise(f"{up}.conv_layer", width, width)
        layers[f"ascent{level}.across.conv"] = source.pointwise(f"{over}.conv_layer", width, across)
        layers[f"ascent{level}.separable"] = source.separable(f"separable{level}.conv_layer", width)
    layers["last.norm"] = source.norm("final_joined_convs.0.norm", width)
    layers["last.conv"] = source.conv("final_joined_convs.0.conv_layer", None, width, 1)
    hidden = len(layers["last.conv"]["weight"])
    layers["head"] = source.head(choice.head or "human", hidden)
    source.fit.done()
    found = {name: size for name, size in sizes._asdict().items() if size is not None}
    config = BorzoiConfig(
        stem_channels=stem, tower_channels=tuple(tower), width=width, layers=count, hidden=hidden, **found
    )
    return Translated(written(config), flat(layers))


def _take_conv_block(
    source: PackageSource | KerasSource, path: str, ours: str, width: int, layers: dict[str, dict[str, Tensor]]
) -> int:
    """Put a block of the tower among the layers; returns its number of channels."""
    layers[f"{ours}.norm"] = source.norm(f"{path}.norm", width)
    layers[f"{ours}.conv"] = source.conv(f"{path}.conv_layer", None, width, 5)
    return len(layers[f"{ours}.conv"]["weight"])


def unsquash(values: Tensor, scale: Tensor, clip_soft: Tensor, power: Tensor) -> Tensor:
    """Coverage from what Borzoi predicts, by each track's own transform in training, undone last step first.

    Training took coverage to 3/4 (RNA-seq, `sum_sqrt`) or as it was (`sum`, `mean`), of what exceeded the soft clip the
    square root, and multiplied by the scale. The published replicates need this, the older of two transforms in
    Calico's code (`untransform_old`): the newer shifts by 1 and squares, and its results differ.

    Parameters
    ----------
    values
        (B, T, bins), squashed.
    scale, clip_soft
        (T,), from the published table of targets.
    power
        (T,), 4/3 for a `sum_sqrt` track, otherwise 1.
    """
    scale, clip_soft, power = (of_track[:, None] for of_track in (scale, clip_soft, power))
    values = values / scale
    over = (values - clip_soft).clamp(min=0)
    # Where nothing is over, the value stays as it is.
    return torch.where(over > 0, clip_soft + over**2, values) ** power
