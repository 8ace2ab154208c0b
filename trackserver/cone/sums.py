"""Rules for sums over all positions (dense layers, matrix products, means): the reference's sum plus changed terms."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackserver.cone.patch import Pass, Patch, Step, axes


def linear(run: Pass, x: Patch, weight: Tensor, bias: Tensor | None = None) -> Step | None:
    """A dense layer that reads all positions: the reference's output plus the contribution of the changed columns."""
    if not isinstance(x, Patch) or isinstance(weight, Patch) or isinstance(bias, Patch):
        return None
    if x.stretch.merged:
        return Step(None, partial(_dense_of_difference, run, run.key, x, weight), inputs=(x,), needs_result=True)
    return matmul(run, x, weight.T)


def _dense_of_difference(run: Pass, key: int, x: Patch, weight: Tensor) -> Tensor:
    difference, span = run.difference(x), x.stretch.span  # (B, width, C)
    total = run.record.results[key].repeat(len(difference), 1)
    by_position = weight.unflatten(1, (-1, span.n))
    for position in range(int(span.start.min()), int(span.stop.max())):
        batch = np.flatnonzero((span.start <= position) & (position < span.stop))  # alternatives that cover it
        if not len(batch):
            continue
        block = run.layouts.get(weight, position, partial(_column, by_position, position))
        values = difference[torch.from_numpy(batch), torch.from_numpy(position - span.start[batch])]
        total.index_add_(0, torch.from_numpy(batch).to(total.device), values @ block.T)
    return total


def _column(by_position: Tensor, position: int) -> Tensor:
    return by_position[:, :, position].contiguous()


def matmul(run: Pass, x: Patch, other: Tensor) -> Step | None:
    """Weighted sums over positions: (B, C, n) @ (n, S)."""
    if not isinstance(x, Patch) or isinstance(other, Patch) or other.ndim != 2 or axes(x) != 3 or x.stretch.merged:
        return None
    key = run.key

    def apply() -> Tensor:
        span = x.stretch.span
        positions = torch.from_numpy(span.start[:, None] + np.arange(span.width)).to(other.device)
        return run.record.results[key] + run.difference(x).transpose(1, 2) @ other[positions]

    return Step(None, apply, inputs=(x,), needs_result=True)


def summed(
    mean: bool, run: Pass, x: Patch, dim: Any = None, keepdim: bool = False, dtype: object = None
) -> Step | None:
    """The sum or the mean over positions."""
    dim = dim[0] if isinstance(dim, list | tuple) and len(dim) == 1 else dim
    if not isinstance(dim, int) or dim % axes(x) != axes(x) - 1 or x.stretch.merged or dtype is not None:
        return None
    key = run.key

    def apply() -> Tensor:
        added = run.difference(x).sum(1)
        added = added / x.stretch.span.n if mean else added
        return run.record.results[key] + (added[..., None] if keepdim else added)

    return Step(None, apply, inputs=(x,), needs_result=True)
