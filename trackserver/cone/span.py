"""Stretches of positions: where they lie, how they are put over one another, and what else a cone's parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Span(NamedTuple):
    """Where each of B alternatives can differ, among n positions.

    Alternative b can differ in `lo[b]` to `hi[b]` only; its values are held for the `width` positions from `start[b]`
    on, which contain those and are equally many for all, so that they can be computed at once.
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
    """The span of these stretches, cut to the n positions; what is held begins and, but for the end, ends at multiples
    of `align`, as a pool of that width needs it.
    """
    lo = np.clip(lo, 0, n)
    hi = np.clip(hi, lo, n)
    first, last = lo // align * align, np.minimum(-(-hi // align) * align, n)
    width = int(max((last - first).max(), align))
    width = min(width + (n - width) % align, n)
    return Span(lo, hi, np.minimum(first, n - width), width, n)


def rows(values: Tensor) -> Tensor:
    """(B, ..., width) -> (B, width, ...), and `columns` back; views."""
    return values.movedim(-1, 1)


def columns(values: Tensor) -> Tensor:
    return values.movedim(1, -1)


def put(whole: Tensor, start: Ints, piece: Tensor, at: Ints, *, add: bool = False) -> None:
    """Write pieces (B, w, ...) that begin at positions `at` over what begins at `start`, or add them, where they meet.

    `whole` (B, W, ...) is contiguous.
    """
    offset, width, wide = at - start, piece.shape[1], whole.shape[1]
    if (offset == offset[0]).all() and offset[0] >= 0 and offset[0] + width <= wide:
        place = whole[:, offset[0] : offset[0] + width]
        place.add_(piece) if add else place.copy_(piece)
        return
    to = offset[:, None] + np.arange(width)
    b, i = np.nonzero((to >= 0) & (to < wide))
    flat, target = whole.flatten(0, 1), index_of(b * wide + to[b, i], whole.device)
    piece = piece.flatten(0, 1) if len(b) == to.size else piece.flatten(0, 1)[index_of(b * width + i, whole.device)]
    flat.index_add_(0, target, piece) if add else flat.index_copy_(0, target, piece)


def index_of(places: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(places).to(device)


@dataclass
class Record:
    """A reference's way through a network."""

    steps: list[tuple[Any, Any]] = field(default_factory=list)
    kept: dict[int, Tensor] = field(default_factory=dict)  # (n, ...): positions first, a stretch of which is one piece
    results: dict[int, Tensor] = field(default_factory=dict)  # (1, ...), of what has no positions
    align: dict[int, int] = field(default_factory=dict)  # operation -> what its span is a multiple of
    joined: dict[int, tuple[int, ...]] = field(default_factory=dict)  # operation -> those whose spans it puts together
    wanted: frozenset[int] = frozenset()  # to be kept besides what the rules ask for
    largest: int = 1  # about the most bytes an alternative has in one activation

    @property
    def nbytes(self) -> int:
        held = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensors in (self.kept, self.results)
            for tensor in tensors.values()
        }
        return sum(held.values())


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
