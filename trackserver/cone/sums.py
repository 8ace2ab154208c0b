"""Sums over all positions: dense layers, products with a matrix, means. The reference's, and the terms that changed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackserver.cone.patch import Pass, Patch, Step, axes


def linear(run: Pass, x: Patch, weight: Tensor, bias: Tensor | None = None) -> Step | None:
    """A dense layer that reads all positions: the reference's output and what the changed columns add to it."""
    if not isinstance(x, Patch) or isinstance(weight, Patch) or isinstance(bias, Patch):
        return None
    if x.stretch.merged:
        return Step(None, partial(_dense_of_change, run, run.key, x, weight), reads=(x,), keeps=True)
    return matmul(run, x, weight.T)


def _dense_of_change(run: Pass, key: int, x: Patch, weight: Tensor) -> Tensor:
    change, span = run.change(x), x.stretch.span  # (B, width, C)
    total = run.record.results[key].repeat(len(change), 1)
    by_position = weight.unflatten(1, (-1, span.n))
    for place in range(int(span.start.min()), int(span.stop.max())):
        reads = np.flatnonzero((span.start <= place) & (place < span.stop))
        if not len(reads):
            continue
        block = run.layouts.get(weight, place, partial(_column, by_position, place))
        taken = change[torch.from_numpy(reads), torch.from_numpy(place - span.start[reads])]
        total.index_add_(0, torch.from_numpy(reads).to(total.device), taken @ block.T)
    return total


def _column(by_position: Tensor, place: int) -> Tensor:
    return by_position[:, :, place].contiguous()


def matmul(run: Pass, x: Patch, other: Tensor) -> Step | None:
    """Weighted sums over positions: (B, C, n) @ (n, S)."""
    if not isinstance(x, Patch) or isinstance(other, Patch) or other.ndim != 2 or axes(x) != 3 or x.stretch.merged:
        return None
    key = run.key

    def apply() -> Tensor:
        span = x.stretch.span
        places = torch.from_numpy(span.start[:, None] + np.arange(span.width)).to(other.device)
        return run.record.results[key] + run.change(x).transpose(1, 2) @ other[places]

    return Step(None, apply, reads=(x,), keeps=True)


def summed(
    mean: bool, run: Pass, x: Patch, dim: Any = None, keepdim: bool = False, dtype: object = None
) -> Step | None:
    """The sum or the mean over positions."""
    dim = dim[0] if isinstance(dim, list | tuple) and len(dim) == 1 else dim
    if not isinstance(dim, int) or dim % axes(x) != axes(x) - 1 or x.stretch.merged or dtype is not None:
        return None
    key = run.key

    def apply() -> Tensor:
        more = run.change(x).sum(1)
        more = more / x.stretch.span.n if mean else more
        return run.record.results[key] + (more[..., None] if keepdim else more)

    return Step(None, apply, reads=(x,), keeps=True)
