"""What acts on each position by itself, of one activation or of several, whose stretches are then put together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trackserver.cone.patch import Pass, Patch, Rule, Step, axes, patches_in
from trackserver.cone.span import Ints, Span, columns

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
    if all(patch.stretch.origin == first.origin for patch in patches):
        return first.span, first.origin, ()
    spans = [patch.stretch.span for patch in patches]
    lo, hi = _union(spans)
    span = run.span(lo, hi, first.span.n)
    run.joins(patches)
    # Where all is held of the one that is recorded, it may not be of others.
    read = (patch for patch in patches if not patch.stretch.span.same(span) or span.width == span.n)
    return span, None, tuple(read)


def _union(spans: Sequence[Span]) -> tuple[Ints, Ints]:
    """What is changed in any; where in none, the place that the widest has for nothing."""
    nothing = max(spans, key=lambda span: span.width).lo
    lo = reduce(np.minimum, [np.where(span.lo < span.hi, span.lo, span.n) for span in spans])
    hi = reduce(np.maximum, [np.where(span.lo < span.hi, span.hi, 0) for span in spans])
    return np.where(lo < hi, lo, nothing), np.where(lo < hi, hi, nothing)


def _over(run: Pass, x: Patch, span: Span) -> Tensor:
    if x.stretch.span.same(span):
        return x.stretch.values
    return columns(run.read(x, span.start, span.width).contiguous())


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


def places(name: str) -> Iterator[Any]:
    """What torch calls by a name."""
    yield from (getattr(place, name) for place in (Tensor, torch, F) if hasattr(place, name))
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield from (getattr(packet, overload) for overload in packet.overloads())


def pointwise_rules() -> Iterator[tuple[Any, Rule]]:
    for name in POINTWISE:
        for func in places(name):
            yield func, Rule(partial(pointwise, func), flag=_flag(func))
        for func in () if name.startswith("__") else places(f"{name}_"):
            yield func, Rule(partial(pointwise, func))


def _flag(func: Any) -> int | None:
    """The place of its argument `inplace`, where it has one."""
    if not inspect.isfunction(func):
        return None
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    return names.index("inplace") if "inplace" in names else None
