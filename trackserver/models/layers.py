"""Layers that several published networks share, and readers of the files that store them; inference only.

Axes: B batch, C channels, L positions along the sequence; in attention N positions, H heads, K key size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from trackserver.errors import DataError, listing
from trackserver.models.weights import Choice, Fit
from trackserver.validation import first_problem

Config = TypeVar("Config")

# Queries computed at once in attention: the logits of all heads stay below 100 MB even for 4,096 positions.
QUERY_BLOCK = 512


def read_config(kind: type[Config], config: dict[str, Any], name: str) -> Config:
    """Check an architecture's configuration from JSON or TOML.

    Raises
    ------
    DataError
        A size is unknown or impossible.
    """
    try:
        # By way of JSON, where a list is accepted as a tuple while a quoted number is still an error.
        return TypeAdapter(kind).validate_json(json.dumps(config))
    except ValidationError as error:
        raise DataError(f"Not a configuration of {name}: {first_problem(error)}.") from None


def config_as_json(config: Any) -> dict[str, Any]:
    """Convert a configuration to the JSON that `read_config` reads, with lists for tuples."""
    return dict(json.loads(json.dumps(asdict(config))))


def check_sizes(name: str, *sizes: int) -> None:
    if min(sizes) < 1:
        raise DataError(f"Every size of {name} must be 1 or more.")


def whole_bins(crop: int, bin_width: int, name: str) -> int:
    """Convert a crop from bp to bins."""
    if crop < 0 or crop % bin_width:
        raise DataError(f"{name} can be cropped by whole bins of {bin_width} bp, not by {crop} bp.")
    return crop // bin_width


def check_choice(choice: Choice, name: str, *heads: str) -> None:
    """Raise DataError if no file of this architecture has the chosen head or order of bases."""
    if choice.head not in ("", *heads):
        raise DataError(f"{name} has no head '{choice.head}'; it has {listing(heads)}.")
    if choice.alphabet != "ACGT":
        raise DataError(f"{name}'s files order the bases ACGT, not {choice.alphabet}.")


def max_pool(x: Tensor, width: int) -> Tensor:
    """(B, C, L) -> (B, C, L // width)."""
    if width == 1:
        return x
    if has_torch_function_unary(x):
        return handle_torch_function(max_pool, (x,), x, width)
    if x.is_cpu or torch.is_grad_enabled():
        return F.max_pool1d(x, width)
    # On a GPU max_pool1d also stores the index of each maximum, which takes twice the memory of the maxima.
    whole_cells = x[..., : x.shape[-1] // width * width]
    return whole_cells.unflatten(-1, (-1, width)).amax(-1)


def crop_bins(x: Tensor, bins: int) -> Tensor:
    """(B, C, L) -> (B, C, L - 2 * bins), a view."""
    return x[..., bins : x.shape[-1] - bins]


def sigmoid_gelu(x: Tensor) -> Tensor:
    """The GELU of Basenji2 and Enformer, x * sigmoid(1.702 x): up to 0.02 away from the exact one."""
    if torch.is_grad_enabled():
        return x * torch.sigmoid(1.702 * x)
    return (1.702 * x).sigmoid_().mul_(x)  # allocates only the result


def tanh_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class BatchNorm(nn.Module):
    """(B, C, L) -> (B, C, L), with the statistics from training; unlike torch's own it has no counter."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class SameConv(nn.Conv1d):
    """(B, C, L) -> (B, C', L), padded as TensorFlow does: of an odd number of zeros one more lies on the right."""

    def __init__(self, channels_in: int, channels: int, kernel: int, *, dilation: int = 1, bias: bool = True):
        zeros = (kernel - 1) * dilation
        super().__init__(channels_in, channels, kernel, padding=zeros // 2, dilation=dilation, bias=bias)
        self.extra = zeros % 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, self.extra)) if self.extra else x)


class RelativeAttention(nn.Module):
    """(B, N, C) -> (B, N, C): each position attends to all others by content and by signed distance.

    Relative attention as in Transformer-XL (Dai et al. 2019), used by Enformer and Borzoi: the logit of query i for key
    j is (q_i * K**-0.5 + content_bias) . k_j + (q_i * K**-0.5 + position_bias) . r_(j - i), where r is a linear map of
    a fixed basis of distances. It differs from their code only in the order of operations: queries are computed in
    blocks, each with only the distances that occur in it, which saves half of the products with r.
    """

    def __init__(self, width: int, heads: int, key: int, value: int, features: int):
        super().__init__()
        self.heads, self.scale = heads, key**-0.5
        self.to_q = nn.Linear(width, heads * key, bias=False)
        self.to_k = nn.Linear(width, heads * key, bias=False)
        self.to_v = nn.Linear(width, heads * value, bias=False)
        self.to_r = nn.Linear(features, heads * key, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(1, heads, 1, key))
        self.position_bias = nn.Parameter(torch.zeros(1, heads, 1, key))
        self.to_out = nn.Linear(heads * value, width)

    def forward(self, x: Tensor, basis: Tensor) -> Tensor:
        """`basis` (2 * N - 1, features) has a row for each distance j - i, from 1 - N to N - 1."""
        n = x.shape[1]
        q = self._split(self.to_q(x)) * self.scale
        k = self._split(self.to_k(x)).transpose(-1, -2)
        v = self._split(self.to_v(x))
        r = self._split(self.to_r(basis[None].to(x.dtype))).transpose(-1, -2)
        by_content, by_position = q + self.content_bias, q + self.position_bias
        attended = []
        for start in range(0, n, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, n)
            logits = by_content[:, :, start:stop] @ k
            logits += shift_rows(by_position[:, :, start:stop] @ r[..., n - stop : 2 * n - 1 - start])
            attended.append(logits.softmax(-1) @ v)
        return self.to_out(torch.cat(attended, 2).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, H * K) -> (B, H, N, K)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def shift_rows(by_distance: Tensor) -> Tensor:
    """(B, H, Q, Q + N - 1), by query and distance -> (B, H, Q, N), by query and key, a view.

    Each query is one position further from key 0 than the query before, so row i begins at entry Q - 1 - i.
    """
    rows, distances = by_distance.shape[-2:]
    by_distance = by_distance.contiguous()
    *outer, row, entry = by_distance.stride()
    size = (*by_distance.shape[:-1], distances - rows + 1)
    return by_distance.as_strided(size, (*outer, row - 1, entry), by_distance.storage_offset() + rows - 1)


class TransformerBlock(nn.Module):
    """(B, N, C) -> (B, N, C): attention, then linear, ReLU, linear; each half norms its input and adds to it."""

    def __init__(self, width: int, heads: int, key: int, value: int, features: int, hidden: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps)
        self.attention = RelativeAttention(width, heads, key, value, features)
        self.mlp_norm = nn.LayerNorm(width, eps)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, basis: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x), basis)
        return x + self.mlp(self.mlp_norm(x))


def two_sided(basis: Tensor) -> Tensor:
    """(N, F), a basis of distances 0 to N - 1 -> (2 * N - 1, 2 * F): symmetric, and times the distance's sign."""
    both = torch.cat([basis[1:].flip(0), basis])
    sign = torch.arange(1 - len(basis), len(basis), device=basis.device).sign()[:, None]
    return torch.cat([both, sign * both], 1)


class Sizes(NamedTuple):
    """Sizes of a transformer block; None if not yet known from the file."""

    heads: int | None = None
    key: int | None = None
    value: int | None = None
    features: int | None = None
    mlp: int | None = None


class LayerReader(Protocol):
    """Reads layers of a published file in torch's layout, by their path in the torch packages, whatever the framework.

    If the output width `width_out` is None, the file decides. A transformer's attention also returns its sizes.
    """

    def conv(self, path: str, width_out: int | None, width: int, kernel: int) -> dict[str, Tensor]: ...
    def linear(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]: ...
    def norm(self, path: str, width: int) -> dict[str, Tensor]: ...
    def layer_norm(self, path: str, width: int) -> dict[str, Tensor]: ...
    def attention(self, path: str, width: int, sizes: Sizes) -> tuple[dict[str, Tensor], Sizes]: ...


class TorchReader:
    """Reads state dicts of enformer-pytorch and borzoi-pytorch, which name a transformer's layers alike."""

    def __init__(self, fit: Fit):
        self.fit = fit

    def has_layer(self, path: str) -> bool:
        return self.fit.has(f"{path}.weight")

    def conv(self, path: str, width_out: int | None, width: int, kernel: int) -> dict[str, Tensor]:
        return self._with_bias(path, width_out, width, kernel)

    def linear(self, path: str, width_out: int | None, width: int) -> dict[str, Tensor]:
        return self._with_bias(path, width_out, width)

    def norm(self, path: str, width: int) -> dict[str, Tensor]:
        tensors = ("weight", "bias", "running_mean", "running_var")
        return {tensor: self.fit.take(f"{path}.{tensor}", width) for tensor in tensors}

    def layer_norm(self, path: str, width: int) -> dict[str, Tensor]:
        return {tensor: self.fit.take(f"{path}.{tensor}", width) for tensor in ("weight", "bias")}

    def attention(self, path: str, width: int, sizes: Sizes) -> tuple[dict[str, Tensor], Sizes]:
        def take(tensor: str, *shape: int | None) -> Tensor:
            return self.fit.take(f"{path}.{tensor}", *shape)

        content = take("rel_content_bias", 1, sizes.heads, 1, sizes.key)
        heads, key = content.shape[1], content.shape[3]
        position = take("rel_pos_bias", 1, heads, 1, key)
        q, k = take("to_q.weight", heads * key, width), take("to_k.weight", heads * key, width)
        v = take("to_v.weight", sizes.value and heads * sizes.value, width)
        out, bias = take("to_out.weight", width, len(v)), take("to_out.bias", width)
        r = take("to_rel_k.weight", heads * key, sizes.features)
        sizes = Sizes(heads, key, len(v) // heads, r.shape[1], sizes.mlp)
        return attention_state(content, position, q, k, v, out, bias, r), sizes

    def _with_bias(self, path: str, *shape: int | None) -> dict[str, Tensor]:
        weight = self.fit.take(f"{path}.weight", *shape)
        return {"weight": weight, "bias": self.fit.take(f"{path}.bias", len(weight))}


def attention_state(
    content: Tensor, position: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, bias: Tensor, r: Tensor
) -> dict[str, Tensor]:
    """Name tensors, given in the order that all three frameworks share, as `RelativeAttention` does."""
    weights = {"to_q": q, "to_k": k, "to_v": v, "to_r": r, "to_out": out}
    state = {f"{name}.weight": tensor for name, tensor in weights.items()}
    return {"content_bias": content, "position_bias": position, **state, "to_out.bias": bias}


def take_block(reader: LayerReader, path: str, width: int, sizes: Sizes) -> tuple[dict[str, Tensor], Sizes]:
    """Read a `TransformerBlock`'s state, and its sizes, which all further blocks must share."""
    norm = reader.layer_norm(f"{path}.0.fn.0", width)
    attention, sizes = reader.attention(f"{path}.0.fn.1", width, sizes)
    mlp_norm = reader.layer_norm(f"{path}.1.fn.0", width)
    widen = reader.linear(f"{path}.1.fn.1", sizes.mlp, width)
    hidden = len(widen["weight"])
    narrow = reader.linear(f"{path}.1.fn.4", width, hidden)
    state = {"norm": norm, "attention": attention, "mlp_norm": mlp_norm, "mlp.0": widen, "mlp.2": narrow}
    return flatten_states(state), sizes._replace(mlp=hidden)


def flatten_states(layers: dict[str, dict[str, Tensor]], prefix: str = "") -> dict[str, Tensor]:
    """Join the states of several layers into one, with the layers' names as prefixes."""
    return {f"{prefix}{layer}.{name}": tensor for layer, state in layers.items() for name, tensor in state.items()}


class Step(NamedTuple):
    """One stage of a network: the positions lost to unpadded convolutions, then the width of its max-pool."""

    lost: int
    pool: int


def positions_after(window: int, steps: Sequence[Step]) -> int:
    for lost, pool in steps:
        window = (window - lost) // pool
    return window


def roundest_window(positions: int, steps: Sequence[Step]) -> int:
    """Guess the window of a network from the number of positions its dense layer reads.

    Several windows lead to the same number, because max-pools drop a remainder. The published one is the roundest:
    DeepSEA's 53 positions mean 995 to 1,010 bp, so 1,000.
    """
    shortest = longest = positions
    for lost, pool in reversed(steps):
        shortest, longest = shortest * pool + lost, longest * pool + pool - 1 + lost
    return next(
        multiple
        for step in (1000, 100, 50, 10, 5, 2, 1)
        if (multiple := -(-shortest // step) * step) <= longest
    )  # fmt: skip
