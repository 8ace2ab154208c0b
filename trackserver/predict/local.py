"""What operations do to a stretch of changed positions: convolutions, pools, crops, what acts on each by itself.

Each rule is asked with the operation's own arguments and says None where they are such that it is not local.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trackserver.models import layers
from trackserver.predict import sums
from trackserver.predict.patch import Pass, Patch, Rule, Step, axes, patches_in
from trackserver.predict.stretch import Ints, Span, columns, placed, put, rows

# A convolution's output is kept besides its input where each number kept saves every alternative so many products.
SAVED = 4

# Of each position by itself: methods, functions of torch and of torch.nn.functional by these names, and their
# counterparts that work in place.
POINTWISE = """
    add sub subtract rsub mul multiply div divide true_divide neg negative abs square sqrt rsqrt pow reciprocal exp exp2
    expm1 log log1p log2 sigmoid tanh erf sin cos relu relu6 gelu silu mish elu selu celu softplus softsign logsigmoid
    leaky_relu hardtanh hardsigmoid hardswish hardshrink softshrink tanhshrink threshold clamp clamp_min clamp_max clip
    where maximum minimum addcmul addcdiv lerp logaddexp gt ge lt le eq ne clone nan_to_num logit
    __radd__ __rsub__ __rmul__ __rdiv__ __rtruediv__ __pow__
""".split()


def pointwise(func: Callable[..., Tensor], run: Pass, *args: Any, **kwargs: Any) -> Step | None:
    patches = list(patches_in((args, kwargs)))
    first = patches[0]
    if func in (torch.where, torch.ops.aten.where.default) and len(args) + len(kwargs) < 3:
        return None  # the places where it is true
    if any(not _alike(first, part) for part in (*args, *kwargs.values()) if isinstance(part, Tensor)):
        return None
    span, origin, reads = _together(run, patches)

    def apply() -> Tensor:
        def held(part: Any) -> Any:
            return _over(run, part, span) if isinstance(part, Patch) else part

        return func(*map(held, args), **{name: held(part) for name, part in kwargs.items()})

    return Step(span, apply, origin, reads, merged=first.stretch.merged)


def _alike(x: Patch, other: Tensor) -> bool:
    """Whether position by position the other is as long as `x`, or one for all positions and windows."""
    if isinstance(other, Patch):
        one, two = x.stretch, other.stretch
        return axes(x) == other.ndim and one.span.n == two.span.n and one.merged == two.merged
    if other.ndim == 0:
        return True
    fits = other.shape[-1] == 1 and other.ndim <= axes(x) and (other.ndim < axes(x) or other.shape[0] == 1)
    return fits and not x.stretch.merged


def _together(run: Pass, patches: Sequence[Patch]) -> tuple[Span, int | None, tuple[Patch, ...]]:
    """The span of all, the operation it is from if not a new one, and those of whom more is read than is held."""
    first = patches[0].stretch
    if len(patches) == 1:
        return first.span, first.origin, ()
    spans = [patch.stretch.span for patch in patches]
    lo, hi = _union(spans)
    if all(span.same(first.span) for span in spans[1:]):
        return first.span._replace(lo=lo, hi=hi), first.origin, ()
    span = run.span(lo, hi, first.span.n)
    return span, None, tuple(patch for patch in patches if not patch.stretch.span.same(span))


def _union(spans: Sequence[Span]) -> tuple[Ints, Ints]:
    """An empty stretch has no place of its own."""
    lo = reduce(np.minimum, [np.where(span.lo < span.hi, span.lo, span.n) for span in spans])
    return placed(lo, reduce(np.maximum, [span.hi for span in spans]))


def _over(run: Pass, x: Patch, span: Span) -> Tensor:
    if x.stretch.span.same(span):
        return x.stretch.values
    return columns(run.read(x, span.start, span.width).contiguous())


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
    if stride == groups == 1 and reach * weight[0].numel() >= SAVED * n:
        apply = partial(_conv_of_change, run, run.key, x, weight, span, left, dilation)
        return Step(span, apply, reads=(x,), keeps=True)

    def apply_to_all() -> Tensor:
        read = run.read(x, span.start * stride - left, (span.width - 1) * stride + reach + 1)
        if groups > 1:
            return F.conv1d(columns(read), weight, bias, stride, 0, dilation, groups)
        return _conv(run, read, weight, bias, stride, dilation, span.width)

    return Step(span, apply_to_all, reads=(x,))


def _one(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])


def _windows(span: Span, stride: int, left: int, reach: int) -> tuple[Ints, Ints]:
    """Of windows of `reach` + 1 positions, every `stride` from `left` before the first on, those that are changed."""
    lo = np.maximum(-((reach - left - span.lo) // stride), 0)
    hi = (span.hi - 1 + left) // stride + 1
    return lo, np.where(span.lo < span.hi, hi, lo)


def _mix(x: Patch, weight: Tensor, bias: Tensor | None) -> Tensor:
    return columns(F.linear(rows(x.stretch.values), weight[:, :, 0], bias))


def _by_tap(run: Pass, weight: Tensor) -> Tensor:
    """(C', C, k) -> (C', k, C)."""
    return run.layouts.get(weight, "by tap", lambda: weight.transpose(1, 2).contiguous())


def _conv(run: Pass, read: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, n: int) -> Tensor:
    """A convolution of (B, positions, C) without padding, as one product of matrices -> (B, C', n)."""
    read = read.contiguous()
    batch, positions, width = read.shape
    taps = weight.shape[-1]
    strides = (positions * width, stride * width, dilation * width, 1)
    windows = read.as_strided((batch, n, taps, width), strides, read.storage_offset())
    kernel = _by_tap(run, weight).flatten(1)
    return columns(F.linear(windows.reshape(batch, n, taps * width), kernel, bias))


def _conv_of_change(run: Pass, key: int, x: Patch, weight: Tensor, span: Span, left: int, dilation: int) -> Tensor:
    """The reference's output and a convolution of nothing but the change: each of its positions is met by each tap."""
    change, taps = run.change(x), _by_tap(run, weight)
    batch, width = change.shape[:2]
    reach = (taps.shape[1] - 1) * dilation
    flat = change.reshape(batch * width, -1)
    added = change.new_zeros(batch, width + reach, len(weight))
    for tap in range(taps.shape[1]):
        first = reach - tap * dilation
        added[:, first : first + width] += (flat @ taps[:, tap].T).unflatten(0, (batch, width))
    whole = run.reference(key, span.start, span.width)
    put(whole, span.start, added, x.stretch.span.start + left - reach, add=True)
    return columns(whole)


def max_pool(run: Pass, x: Patch, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Step | None:  # fmt: skip
    if x.stretch.merged or ceil_mode or return_indices:
        return None
    kernel, padding, dilation = _one(kernel), _one(padding), _one(dilation)
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

    return Step(span, apply, reads=() if aligned else _beyond(x, start, width))


def avg_pool(run: Pass, x: Patch, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True) -> Step | None:  # fmt: skip
    kernel, padding = _one(kernel), _one(padding)
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
        reads=() if aligned else _beyond(x, start, width),
    )


def _beyond(x: Patch, start: Ints, width: int) -> tuple[Patch, ...]:
    """The patch, if more is read of it than is held."""
    span = x.stretch.span
    return (x,) if (start < span.start).any() or (start + width > span.stop).any() else ()


def getitem(run: Pass, x: Patch, index: Any) -> Step | None:
    """Crops, every k-th position, and choices of channels; a view of its values where those are."""
    items = _per_axis(index, axes(x))
    if items is None or x.stretch.merged or items[0] != slice(None) or not isinstance(items[-1], slice):
        return None
    held = x.stretch.span
    begin, end, step = items[-1].indices(held.n)
    n = len(range(begin, end, step))
    inner = (slice(None), *items[1:-1])
    if step < 1 or not n:
        return None
    if n == held.n:
        return Step(held, lambda: x.stretch.values[(*inner, slice(None))], x.stretch.origin, views=True)
    aligned = step > 1 and run.want_aligned(x, step)
    first = begin // step * step if step > 1 else begin
    span = run.span((held.lo - first) // step, -(-(held.hi - first) // step), n)
    start, width = span.start * step + begin, (span.width - 1) * step + 1

    def apply() -> Tensor:
        return columns(run.read(x, start, width)[:, ::step])[(*inner, slice(None))]

    crop = slice(begin, end) if step == 1 and all(item == slice(None) for item in inner) else None
    return Step(span, apply, reads=() if aligned else (x,), views=True, crop=crop)


def _per_axis(index: Any, ndim: int) -> list[Any] | None:
    """One item for each axis (and each new one); None where positions do not stay the last."""
    items = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(item, slice | int | list | None | type(...)) or isinstance(item, bool) for item in items):
        return None
    chosen = [i for i, item in enumerate(items) if isinstance(item, list)]
    if len(chosen) > 1 or (chosen and any(isinstance(item, int) or item is None for item in items)):
        return None
    named = sum(item is not None and item is not ... for item in items)
    if items.count(...) > 1 or named > ndim:
        return None
    at = items.index(...) if ... in items else len(items)
    return [*items[:at], *[slice(None)] * (ndim - named), *items[at + 1 :]]


def pad(run: Pass, x: Patch, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> Step | None:
    if x.stretch.merged or mode != "constant" or len(widths) != 2 or min(widths) < 0:
        return None
    span, (left, right) = x.stretch.span, widths
    lo, hi = placed(span.lo + left, np.where(span.lo < span.hi, span.hi + left, 0))
    moved = Span(lo, hi, span.start + left, span.width, span.n + left + right)
    return Step(moved, lambda: x.stretch.values, views=True)


def cat(run: Pass, parts: Sequence[Tensor], dim: int = 0) -> Step | None:
    """Of channels."""
    patches = [part for part in parts if isinstance(part, Patch)]
    x = patches[0]
    if len(patches) != len(parts) or dim % axes(x) in (0, axes(x) - 1) or x.stretch.merged:
        return None
    if not all(_alike(x, patch) for patch in patches):
        return None
    span, origin, reads = _together(run, patches)
    return Step(span, lambda: torch.cat([_over(run, part, span) for part in patches], dim), origin, reads)


def flatten(run: Pass, x: Patch, start_dim: int = 0, end_dim: int = -1) -> Step | None:
    if axes(x) != 3 or start_dim % 3 != 1 or end_dim % 3 != 2:
        return None
    return _merged(x)


def reshape(run: Pass, x: Patch, *shape: Any) -> Step | None:
    """As `flatten`, in other words."""
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if axes(x) != 3 or len(sizes) != 2 or sizes[0] not in (-1, len(x)) or sizes[1] not in (-1, x.shape[1] * x.shape[2]):
        return None
    return _merged(x)


def _merged(x: Patch) -> Step:
    return Step(x.stretch.span, lambda: x.stretch.values, x.stretch.origin, views=True, merged=True, facts=_fact(x))


def _fact(x: Patch) -> Any:
    return ("merged", x)


def dropout(run: Pass, x: Patch, p: float = 0.5, training: bool = True, inplace: bool = False) -> Step | None:
    return None if training else Step(x.stretch.span, None)


def same(run: Pass, x: Patch, *args: Any, **kwargs: Any) -> Step | None:
    """What gives back what it is given, or a copy."""
    return Step(x.stretch.span, lambda: x.stretch.values, x.stretch.origin, views=True, merged=x.stretch.merged)


def _places(name: str) -> Iterator[Any]:
    """What torch calls by a name."""
    yield from (getattr(place, name) for place in (Tensor, torch, F) if hasattr(place, name))
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield from (getattr(packet, overload) for overload in packet.overloads())


def _pointwise_rules() -> Iterator[tuple[Any, Rule]]:
    for name in POINTWISE:
        for func in _places(name):
            yield func, Rule(partial(pointwise, func), flag=_flag(func))
        for func in () if name.startswith("__") else _places(f"{name}_"):
            yield func, Rule(partial(pointwise, func), in_place=True)
    # Where torch.nn.functional calls another by this name.
    yield F.threshold, Rule(partial(pointwise, F.threshold), flag=3)


def _flag(func: Any) -> int | None:
    """The place of its argument `inplace`, where it has one."""
    if not inspect.isfunction(func):
        return None
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    return names.index("inplace") if "inplace" in names else None


def _rules() -> Mapping[Any, Rule]:
    table = dict(_pointwise_rules())
    named: dict[str, Callable[..., Step | None]] = {
        "conv1d": conv1d, "max_pool1d": max_pool, "avg_pool1d": avg_pool, "__getitem__": getitem, "pad": pad,
        "cat": cat, "concat": cat, "flatten": flatten, "reshape": reshape, "view": reshape, "contiguous": same,
        "detach": same,
        "linear": sums.linear, "matmul": sums.matmul, "__matmul__": sums.matmul, "mean": partial(sums.summed, True),
        "sum": partial(sums.summed, False),
    }  # fmt: skip
    for name, step in named.items():
        table.update((func, Rule(step)) for func in _places(name))
    dropouts = (F.dropout, F.dropout1d, F.alpha_dropout, F.feature_alpha_dropout, torch.ops.aten.dropout.default)
    table.update((func, Rule(dropout)) for func in dropouts)
    table.update(dict.fromkeys((torch.batch_norm, torch.ops.aten.batch_norm.default), Rule(aten_batch_norm)))
    return table | {F.batch_norm: Rule(batch_norm), layers.max_pool: Rule(max_pool)}


RULES = _rules()
