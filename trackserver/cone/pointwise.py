"""Rules for operations on each position by itself, of one activation or of several whose stretches are united."""

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

# Methods of tensors and functions of torch and torch.nn.functional that act on each position by itself. Their in-place
# counterparts are added below.
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
        return None  # returns the indices where the condition is true
    if any(not _same_positions(first, part) for part in (*args, *kwargs.values()) if isinstance(part, Tensor)):
        return None
    span, origin, inputs = _common_span(run, patches)

    def apply() -> Tensor:
        def on_span(part: Any) -> Any:
            return _on_span(run, part, span) if isinstance(part, Patch) else part

        return func(*map(on_span, args), **{name: on_span(part) for name, part in kwargs.items()})

    return Step(span, apply, origin, inputs, merged=first.stretch.merged)


def _same_positions(x: Patch, other: Tensor) -> bool:
    """Whether the other tensor matches `x` position by position, or is the same for all positions and windows."""
    if isinstance(other, Patch):
        one, two = x.stretch, other.stretch
        return axes(x) == other.ndim and one.span.n == two.span.n and one.merged == two.merged
    if other.ndim == 0:
        return True
    fits = other.shape[-1] == 1 and other.ndim <= axes(x) and (other.ndim < axes(x) or other.shape[0] == 1)
    return fits and not x.stretch.merged


def _common_span(run: Pass, patches: Sequence[Patch]) -> tuple[Span, int | None, tuple[Patch, ...]]:
    """The union of the patches' spans, its origin if it is not new, and the patches read beyond their own stretch."""
    first = patches[0].stretch
    if all(patch.stretch.origin == first.origin for patch in patches):
        return first.span, first.origin, ()
    spans = [patch.stretch.span for patch in patches]
    lo, hi = _union(spans)
    span = run.span(lo, hi, first.span.n)
    run.record_union(patches)
    # A span that covers all positions while recording may not do so for other alternatives.
    inputs = (patch for patch in patches if not patch.stretch.span.same(span) or span.width == span.n)
    return span, None, tuple(inputs)


def _union(spans: Sequence[Span]) -> tuple[Ints, Ints]:
    """The union of changed positions; where nothing changes, the empty span of the widest."""
    empty = max(spans, key=lambda span: span.width).lo
    lo = reduce(np.minimum, [np.where(span.lo < span.hi, span.lo, span.n) for span in spans])
    hi = reduce(np.maximum, [np.where(span.lo < span.hi, span.hi, 0) for span in spans])
    return np.where(lo < hi, lo, empty), np.where(lo < hi, hi, empty)


def _on_span(run: Pass, x: Patch, span: Span) -> Tensor:
    if x.stretch.span.same(span):
        return x.stretch.values
    return columns(run.read(x, span.start, span.width).contiguous())


def cat(run: Pass, parts: Sequence[Tensor], dim: int = 0) -> Step | None:
    """Concatenate channels."""
    patches = [part for part in parts if isinstance(part, Patch)]
    x = patches[0]
    if len(patches) != len(parts) or dim % axes(x) in (0, axes(x) - 1) or x.stretch.merged:
        return None
    if not all(_same_positions(x, patch) for patch in patches):
        return None
    span, origin, inputs = _common_span(run, patches)
    return Step(span, lambda: torch.cat([_on_span(run, part, span) for part in patches], dim), origin, inputs)


def functions_named(name: str) -> Iterator[Any]:
    """Yield all of torch's functions and methods of a name."""
    yield from (getattr(namespace, name) for namespace in (Tensor, torch, F) if hasattr(namespace, name))
    packet = getattr(torch.ops.aten, name, None)
    if packet is not None:
        yield from (getattr(packet, overload) for overload in packet.overloads())


def pointwise_rules() -> Iterator[tuple[Any, Rule]]:
    for name in POINTWISE:
        for func in functions_named(name):
            yield func, Rule(partial(pointwise, func), flag=_flag(func))
        for func in () if name.startswith("__") else functions_named(f"{name}_"):
            yield func, Rule(partial(pointwise, func))


def _flag(func: Any) -> int | None:
    """The index of its argument `inplace`, if it has one."""
    if not inspect.isfunction(func):
        return None
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    return names.index("inplace") if "inplace" in names else None
