"""Spans of changed positions, how to overlay them, and the record of a reference that a cone's modules share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Span(NamedTuple):
    """The positions, out of n, at which each of B alternatives can differ from the reference.

    Alternative b can differ only from `lo[b]` to `hi[b]`. Its values cover the `width` positions from `start[b]` on,
    which include those; the width is the same for all alternatives, so that they can be computed in one batch.
    """

    lo: Ints
    hi: Ints
    start: Ints
    width: int
    n: int

    @property
    def stop(self) -> Ints:
        return self.start + self.width

    def same(self, other: Span) -> bool:
        return self.width == other.width and self.n == other.n and np.array_equal(self.start, other.start)


def spanning(lo: Ints, hi: Ints, n: int, align: int = 1) -> Span:
    """Make the span of these stretches, clipped to n positions.

    The values start at multiples of `align` and also end there, except at the end of the axis, so that a pool of that
    width reads whole cells.
    """
    lo = np.clip(lo, 0, n)
    hi = np.clip(hi, lo, n)
    first, last = lo // align * align, np.minimum(-(-hi // align) * align, n)
    width = int(max((last - first).max(), align))
    width = min(width + (n - width) % align, n)
    return Span(lo, hi, np.minimum(first, n - width), width, n)


def rows(values: Tensor) -> Tensor:
    """(B, ..., width) -> (B, width, ...), a view; `columns` is the inverse."""
    return values.movedim(-1, 1)


def columns(values: Tensor) -> Tensor:
    return values.movedim(1, -1)


def put(whole: Tensor, start: Ints, piece: Tensor, at: Ints, *, add: bool = False) -> None:
    """Write pieces (B, w, ...) into `whole`, or add them, where the two overlap.

    `whole` (B, W, ...) is contiguous and begins at positions `start` (B,), the pieces begin at positions `at` (B,).
    """
    offset, width, wide = at - start, piece.shape[1], whole.shape[1]
    if (offset == offset[0]).all() and offset[0] >= 0 and offset[0] + width <= wide:
        target = whole[:, offset[0] : offset[0] + width]
        target.add_(piece) if add else target.copy_(piece)
        return
    to = offset[:, None] + np.arange(width)
    b, i = np.nonzero((to >= 0) & (to < wide))
    flat, index = whole.flatten(0, 1), index_of(b * wide + to[b, i], whole.device)
    piece = piece.flatten(0, 1) if len(b) == to.size else piece.flatten(0, 1)[index_of(b * width + i, whole.device)]
    flat.index_add_(0, index, piece) if add else flat.index_copy_(0, index, piece)


def index_of(positions: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(positions).to(device)


@dataclass
class Record:
    """What is stored of a reference's run through a network."""

    steps: list[tuple[Any, Any]] = field(default_factory=list)
    activations: dict[int, Tensor] = field(
        default_factory=dict
    )  # (n, ...): positions first, so a stretch is contiguous
    results: dict[int, Tensor] = field(default_factory=dict)  # (1, ...), activations without a position axis
    align: dict[int, int] = field(default_factory=dict)  # operation -> alignment of its span
    unions: dict[int, tuple[int, ...]] = field(default_factory=dict)  # operation -> origins of the spans it unites
    wanted: frozenset[int] = frozenset()  # keys to store besides those the rules ask for
    largest: int = 1  # approximate bytes of an alternative's largest activation

    @property
    def nbytes(self) -> int:
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensors in (self.activations, self.results)
            for tensor in tensors.values()
        }
        return sum(storages.values())


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and _equal_tensors(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(part, other[name]) for name, part in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def _equal_tensors(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    same_memory = one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
    return same_memory or torch.equal(one, other)
