"""Rules for what operations do to a stretch of changed positions: convolutions, pools, crops, pointwise operations.

A rule takes the operation's own arguments and returns None if with these arguments the operation is not local.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trackserver.cone import sums
from trackserver.cone.patch import Pass, Patch, Rule, Step, axes
from trackserver.cone.pointwise import cat, functions_named, pointwise_rules
from trackserver.cone.span import Ints, Span, columns, put, rows
from trackserver.models import layers

# Also store a convolution's output if each stored number saves every alternative at least this many products.
MIN_SAVED_PRODUCTS = 4


def batch_norm(
    run: Pass,
    x: Patch,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Step | None:
    if training or mean is None or var is None or x.stretch.merged or axes(x) != 3:
        return None
    if any(isinstance(tensor, Patch) for tensor in (mean, var, weight, bias)):
        return None

    def apply() -> Tensor:
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return torch.addcmul(shift[:, None], x.stretch.values, scale[:, None])

    return Step(x.stretch.span, apply, x.stretch.origin)


def aten_batch_norm(
    run: Pass,
    x: Patch,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Step | None:
    return batch_norm(run, x, mean, var, weight, bias, training, momentum, eps)


def conv1d(
    run: Pass,
    x: Patch,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Step | None:
    if not isinstance(x, Patch) or isinstance(weight, Patch) or isinstance(bias, Patch) or axes(x) != 3:
        return None
    stride, dilation = _one(stride), _one(dilation)
    reach = (weight.shape[-1] - 1) * dilation
    left, right = (reach // 2, reach - reach // 2) if padding == "same" else (0, 0)
    if not isinstance(padding, str):
        left = right = _one(padding)
    if reach == left == right == 0 and stride == groups == 1:
        return Step(x.stretch.span, lambda: _mix(x, weight, bias), x.stretch.origin)
    n = (x.stretch.span.n + left + right - reach - 1) // stride + 1
    span = run.span(*_windows(x.stretch.span, stride, left, reach), n)
    if stride == groups == 1 and reach * weight[0].numel() >= MIN_SAVED_PRODUCTS * n:
        apply = partial(_conv_of_difference, run, run.key, x, weight, span, left, dilation)
        return Step(span, apply, inputs=(x,), needs_result=True)

    def apply_to_all() -> Tensor:
        read = run.read(x, span.start * stride - left, (span.width - 1) * stride + reach + 1)
        if groups > 1:
            return F.conv1d(columns(read), weight, bias, stride, 0, dilation, groups)
        return _conv(run, read, weight, bias, stride, dilation, span.width)

    return Step(span, apply_to_all, inputs=(x,))


def _one(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])


def _windows(span: Span, stride: int, left: int, reach: int) -> tuple[Ints, Ints]:
    """The windows that contain changed positions: `reach` + 1 positions each, `stride` apart, the first at -`left`."""
    lo = np.maximum(-((reach - left - span.lo) // stride), 0)
    hi = (span.hi - 1 + left) // stride + 1
    return lo, np.where(span.lo < span.hi, hi, lo)


def _mix(x: Patch, weight: Tensor, bias: Tensor | None) -> Tensor:
    return columns(F.linear(rows(x.stretch.values), weight[:, :, 0], bias))


def _by_tap(run: Pass, weight: Tensor) -> Tensor:
    """(C', C, k) -> (C', k, C)."""
    return run.layouts.get(weight, "by tap", lambda: weight.transpose(1, 2).contiguous())


def _conv(run: Pass, read: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, n: int) -> Tensor:
    """A convolution of (B, positions, C) without padding, as one matrix product -> (B, C', n)."""
    read = read.contiguous()
    batch, positions, width = read.shape
    taps = weight.shape[-1]
    strides = (positions * width, stride * width, dilation * width, 1)
    windows = read.as_strided((batch, n, taps, width), strides, read.storage_offset())
    kernel = _by_tap(run, weight).flatten(1)
    return columns(F.linear(windows.reshape(batch, n, taps * width), kernel, bias))


def _conv_of_difference(run: Pass, key: int, x: Patch, weight: Tensor, span: Span, left: int, dilation: int) -> Tensor:
    """The reference's output plus a convolution of the difference alone, tap by tap."""
    difference, taps = run.difference(x), _by_tap(run, weight)
    batch, width = difference.shape[:2]
    reach = (taps.shape[1] - 1) * dilation
    flat = difference.reshape(batch * width, -1)
    added = difference.new_zeros(batch, width + reach, len(weight))
    # With few channels a product per tap would be too small to be efficient.
    all_taps = (flat @ taps.flatten(0, 1).T).unflatten(1, taps.shape[:2]) if len(weight) < taps.shape[1] else None
    for tap in range(taps.shape[1]):
        first = reach - tap * dilation
        product = flat @ taps[:, tap].T if all_taps is None else all_taps[..., tap]
        added[:, first : first + width] += product.unflatten(0, (batch, width))
    whole = run.reference(key, span.start, span.width)
    put(whole, span.start, added, x.stretch.span.start + left - reach, add=True)
    return columns(whole)


def max_pool(run: Pass, x: Patch, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Step | None:  # fmt: skip
    if x.stretch.merged or ceil_mode or return_indices:
        return None
    kernel, padding, dilation = _one(kernel_size), _one(padding), _one(dilation)
    stride = kernel if stride is None or stride == [] else _one(stride)
    reach = (kernel - 1) * dilation
    aligned = stride == reach + 1 and not padding and run.want_aligned(x, stride)
    n = (x.stretch.span.n + 2 * padding - reach - 1) // stride + 1
    span = run.span(*_windows(x.stretch.span, stride, padding, reach), n)
    start, width = span.start * stride - padding, (span.width - 1) * stride + reach + 1

    def apply() -> Tensor:
        read = run.read(x, start, width, -np.inf)
        last = (span.width - 1) * stride + 1
        taps = (read[:, tap : tap + last : stride] for tap in range(0, reach + 1, dilation))
        return columns(reduce(torch.maximum, taps))

    return Step(span, apply, inputs=() if aligned else _beyond(x, start, width))


def avg_pool(run: Pass, x: Patch, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True) -> Step | None:  # fmt: skip
    kernel, padding = _one(kernel_size), _one(padding)
    if x.stretch.merged or ceil_mode or (padding and not count_include_pad):
        return None
    stride = kernel if stride is None or stride == [] else _one(stride)
    aligned = stride == kernel and not padding and run.want_aligned(x, stride)
    n = (x.stretch.span.n + 2 * padding - kernel) // stride + 1
    span = run.span(*_windows(x.stretch.span, stride, padding, kernel - 1), n)
    start, width = span.start * stride - padding, (span.width - 1) * stride + kernel
    return Step(
        span,
        lambda: F.avg_pool1d(columns(run.read(x, start, width)), kernel, stride),
        inputs=() if aligned else _beyond(x, start, width),
    )


def _beyond(x: Patch, start: Ints, width: int) -> tuple[Patch, ...]:
    """The patch, if it is read beyond its stretch."""
    span = x.stretch.span
    return (x,) if (start < span.start).any() or (start + width > span.stop).any() else ()


def getitem(run: Pass, x: Patch, index: Any) -> Step | None:
    """Crops, strides and selections of channels."""
    items = _per_axis(index, axes(x))
    if items is None or x.stretch.merged or items[0] != slice(None) or not isinstance(items[-1], slice):
        return None
    own = x.stretch.span
    begin, end, step = items[-1].indices(own.n)
    n = len(range(begin, end, step))
    inner = (slice(None), *items[1:-1])
    if step < 1 or not n:
        return None
    if n == own.n:
        return Step(own, lambda: x.stretch.values[(*inner, slice(None))], x.stretch.origin, views=True)
    aligned = step > 1 and run.want_aligned(x, step)
    first = begin // step * step if step > 1 else begin
    span = run.span((own.lo - first) // step, -(-(own.hi - first) // step), n)
    start, width = span.start * step + begin, (span.width - 1) * step + 1

    def apply() -> Tensor:
        return columns(run.read(x, start, width)[:, ::step])[(*inner, slice(None))]

    crop = slice(begin, end) if step == 1 and all(item == slice(None) for item in inner) else None
    return Step(span, apply, inputs=() if aligned else (x,), views=True, crop=crop)


def _per_axis(index: Any, ndim: int) -> list[Any] | None:
    """One index for each axis, new axes included; None if positions would not stay the last axis."""
    items = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(item, slice | int | list | None | type(...)) or isinstance(item, bool) for item in items):
        return None
    chosen = [i for i, item in enumerate(items) if isinstance(item, list)]
    if len(chosen) > 1 or (chosen and any(isinstance(item, int) or item is None for item in items)):
        return None
    named = sum(item is not None and item is not ... for item in items)
    if items.count(...) > 1 or named > ndim:
        return None
    ellipsis = items.index(...) if ... in items else len(items)
    return [*items[:ellipsis], *[slice(None)] * (ndim - named), *items[ellipsis + 1 :]]


def aten_slice(run: Pass, x: Patch, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Step | None:
    index = [slice(None)] * axes(x)
    index[dim] = slice(start, end, step)
    return getitem(run, x, tuple(index))


def pad(run: Pass, x: Patch, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> Step | None:
    if x.stretch.merged or mode != "constant" or len(widths) != 2 or min(widths) < 0:
        return None
    span, (left, right) = x.stretch.span, widths
    shifted = Span(span.lo + left, span.hi + left, span.start + left, span.width, span.n + left + right)
    return Step(shifted, lambda: x.stretch.values, views=True)


def flatten(run: Pass, x: Patch, start_dim: int = 0, end_dim: int = -1) -> Step | None:
    if axes(x) != 3 or start_dim % 3 != 1 or end_dim % 3 != 2:
        return None
    return _merge_axes(x)


def reshape(run: Pass, x: Patch, *shape: Any) -> Step | None:
    """A reshape that does the same as `flatten`."""
    sizes = shape[0] if len(shape) == 1 else shape
    if (
        axes(x) != 3
        or not isinstance(sizes, list | tuple)
        or len(sizes) != 2
        or sizes[0] not in (-1, len(x))
        or sizes[1] not in (-1, x.shape[1] * x.shape[2])
    ):
        return None
    return _merge_axes(x)


def _merge_axes(x: Patch) -> Step:
    return Step(x.stretch.span, lambda: x.stretch.values, x.stretch.origin, views=True, merged=True, facts=_fact(x))


def _fact(x: Patch) -> Any:
    return ("merged", x)


def dropout(run: Pass, x: Patch, p: float = 0.5, training: bool = True, inplace: bool = False) -> Step | None:
    return None if training else Step(x.stretch.span, None)


def identity(run: Pass, x: Patch, *args: Any, **kwargs: Any) -> Step | None:
    """Operations that return their input or a copy of it."""
    return Step(x.stretch.span, lambda: x.stretch.values, x.stretch.origin, views=True, merged=x.stretch.merged)


def _rules() -> Mapping[Any, Rule]:
    table = dict(pointwise_rules())
    named: dict[str, Callable[..., Step | None]] = {
        "conv1d": conv1d, "max_pool1d": max_pool, "avg_pool1d": avg_pool, "__getitem__": getitem, "pad": pad,
        "cat": cat, "concat": cat, "flatten": flatten, "reshape": reshape, "view": reshape, "contiguous": identity,
        "detach": identity,
        "linear": sums.linear, "matmul": sums.matmul, "__matmul__": sums.matmul, "mean": partial(sums.summed, True),
        "sum": partial(sums.summed, False),
    }  # fmt: skip
    for name, step in named.items():
        table.update((func, _rule(step)) for func in functions_named(name))
    dropouts = (F.dropout, F.dropout1d, F.alpha_dropout, F.feature_alpha_dropout, torch.ops.aten.dropout.default)
    table.update((func, _rule(dropout)) for func in dropouts)
    table.update(dict.fromkeys((torch.batch_norm, torch.ops.aten.batch_norm.default), _rule(aten_batch_norm)))
    table[torch.ops.aten.slice.Tensor] = _rule(aten_slice)
    return table | {F.batch_norm: _rule(batch_norm), layers.max_pool: _rule(max_pool)}


def _rule(step: Callable[..., Step | None]) -> Rule:
    return Rule(step, names=frozenset(inspect.signature(step).parameters))


RULES = _rules()
