"""Run a network's own `forward` on activations that differ from the reference's in one stretch.

The reference runs through the network once, wrapped as a `Patch`, and is recorded: every operation, and the activations
that will be needed again. Alternatives then take the same path. Rules say what each operation does to a stretch (see
`rules`). An operation without a rule gets whole activations, assembled from the reference and the stretch, and its
result stays whole from there on. So any network works, and nothing is approximate.

A network that runs other operations for an alternative than for the reference raises `CannotFollow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trackserver.cone.span import Ints, Record, Span, equal, index_of, put, rows, spanning
from trackserver.predict.layouts import Layouts

WHOLE_COST = 4  # guess: memory that a network needs after a whole activation, in multiples of that activation


class CannotFollow(Exception):
    """The network does something that cannot be followed stretch by stretch; run it on whole windows instead."""


class MissingActivation(Exception):
    """The reference's activation with this key is needed but was not stored."""

    def __init__(self, key: int):
        self.key = key
        super().__init__(f"activation {key}")


@dataclass
class Stretch:
    """A patch's content: `values` (B, ..., width), or, while recording, the whole reference (1, ..., n).

    key : the operation that produced it
    origin : the operation that chose its span
    merged : whether the network sees channels and positions as one axis, as before a dense layer
    """

    key: int
    origin: int
    values: Tensor
    span: Span
    merged: bool = False


class Patch(Tensor):
    """Looks like a tensor of whole windows (B, ..., n) to the network, but stores only its stretch or its whole."""

    run: Pass
    stretch: Stretch
    whole: Tensor | None
    views: list[bool]  # one flag: whether another patch sees the same memory; both patches share the list

    @staticmethod
    def __new__(
        cls, run: Pass, shape: Sequence[int], stretch: Stretch | None, whole: Tensor | None, views: list[bool]
    ) -> Patch:
        like = whole if stretch is None else stretch.values
        patch: Patch = Tensor._make_wrapper_subclass(cls, shape, dtype=like.dtype, device=like.device)  # type: ignore
        patch.run, patch.whole, patch.views = run, whole, views
        if stretch is not None:
            patch.stretch = stretch
        return patch

    def __init__(self, *_: object):
        super().__init__()

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        patches = list(patches_in((args, kwargs)))
        return patches[0].run.call(func, args, kwargs, patches)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch passes the function first
        cls, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Handle operations that reach torch's dispatcher without passing `__torch_function__`."""
        return cls.__torch_function__(func, types, args, kwargs)


class Step(NamedTuple):
    """How a rule carries out one operation.

    span : the result's span; None if the result has no position axis and is whole
    apply : computes the alternatives' values in that span; None if the result is the first patch itself
    origin : the result's origin, if not this operation
    inputs : patches whose reference activation `apply` reads
    needs_result : whether `apply` reads the reference's result of this operation
    views : whether the result is a view of the first patch
    facts : what has to be equal for the reference and the alternatives, if not all arguments
    crop : the positions of the first patch, if the result is exactly those
    """

    span: Span | None
    apply: Callable[[], Tensor] | None
    origin: int | None = None
    inputs: tuple[Patch, ...] = ()
    needs_result: bool = False
    views: bool = False
    merged: bool = False
    facts: object = None
    crop: slice | None = None


class Rule(NamedTuple):
    """`step` turns an operation's arguments into a Step, or None if this use of the operation is not local."""

    step: Callable[..., Step | None]
    flag: int | None = None  # index of the argument `inplace`
    names: frozenset[str] | None = None  # arguments it supports; None for all but `out`

    def supports(self, kwargs: dict[str, Any]) -> bool:
        return "out" not in kwargs if self.names is None else kwargs.keys() <= self.names


class Pass:
    """One run through the network: of the reference, which is recorded, or of some alternatives to it."""

    def __init__(self, record: Record, rules: Mapping[Any, Rule], layouts: Layouts, recording: bool):
        self.record, self.rules, self.layouts, self.recording = record, rules, layouts, recording
        self.n_done = 0

    def start(self, values: Tensor, span: Span) -> Patch:
        """Wrap the network's input: alternatives (B, 4, width) in their span, or the reference (1, 4, L)."""
        patch = self._patch(Stretch(0, 0, values, span), [False])
        if self.recording and 0 in self.record.wanted:
            self._store(patch)
        return patch

    @property
    def key(self) -> int:
        """Key of the current operation."""
        return self.n_done + 1

    def span(self, lo: Ints, hi: Ints, n: int) -> Span:
        """Span of the current operation's result."""
        return spanning(lo, hi, n, self.record.align.get(self.key, 1))

    def want_aligned(self, x: Patch, width: int) -> bool:
        """Ask later passes to align the span of `x` to multiples of `width`.

        A pool then reads only positions inside the stretch, so the activation before it, often the network's largest,
        need not be stored.
        """
        if x.stretch.span.n < width:
            return False
        if self.recording:
            self._align(x.stretch.origin, width)
        return True

    def record_union(self, patches: Sequence[Patch]) -> None:
        """Record that the current operation's span is the union of these patches' spans."""
        if self.recording:
            self.record.unions[self.key] = tuple(patch.stretch.origin for patch in patches)

    def _align(self, key: int, width: int) -> None:
        self.record.align[key] = int(np.lcm(self.record.align.get(key, 1), width))
        for origin in self.record.unions.get(key, ()):
            self._align(origin, width)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patches: list[Patch]) -> Any:
        if func in METADATA:
            return self._read_metadata(func, args, kwargs, patches[0])
        rule = self.rules.get(func)
        in_place = _writes_first_argument(func) or (rule is not None and _inplace_flag_set(rule, args, kwargs))
        if in_place and not (args and isinstance(args[0], Patch) and not args[0].views[0]):
            raise CannotFollow
        if rule and rule.supports(kwargs) and all(patch.whole is None for patch in patches):
            step = rule.step(self, *args, **kwargs)
            if step is not None:
                return self._apply_step(func, args, kwargs, step, patches[0], in_place)
        return self._run_whole(func, args, kwargs, patches, in_place)

    def _read_metadata(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patch: Patch) -> Any:
        if patch.whole is not None:
            return func(patch.whole, *args[1:], **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def _apply_step(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], step: Step, first: Patch, in_place: bool
    ) -> Patch:
        key, record = self.key, self.record
        self._check_same_operation(func, (args, kwargs) if step.facts is None else step.facts)
        self.n_done = key
        if step.apply is None:
            return first
        if self.recording:
            for patch in step.inputs:
                self._store(patch)
            values = func(*_map_nested(args, _reference), **_map_nested(kwargs, _reference))
        else:
            values = step.apply()
        if step.span is None:
            if self.recording and step.needs_result:
                record.results[key] = values.clone()
            return self._whole_patch(values, [False])
        views = first.views if step.views else [False]
        views[0] |= step.views
        origin = key if step.origin is None else step.origin
        result = self._patch(Stretch(key, origin, values, step.span, step.merged), views)
        if self.recording:
            self._record_size(result)
            if step.crop is not None and first.stretch.key in record.activations:
                record.activations[key] = record.activations[first.stretch.key][step.crop]  # a view
            if step.needs_result or key in record.wanted:
                self._store(result)
        if in_place:
            first.stretch = result.stretch
            return first
        return result

    def _record_size(self, patch: Patch) -> None:
        stretch = patch.stretch
        nbytes = stretch.values.nbytes // stretch.span.n * stretch.span.width
        self.record.largest = max(self.record.largest, nbytes)

    def _check_same_operation(self, func: Any, facts: object) -> None:
        """Raise CannotFollow if an alternative runs another operation than the reference did."""
        facts = _map_nested(facts, _name_of)
        if self.recording:
            self.record.steps.append((func, facts))
        elif self.n_done >= len(self.record.steps) or not equal(self.record.steps[self.n_done], (func, facts)):
            raise CannotFollow

    def _run_whole(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patches: list[Patch], in_place: bool
    ) -> Any:
        if "out" in kwargs:
            raise CannotFollow
        target = args[0] if in_place else None
        views = next((patch.views for patch in patches if patch.views[0]), [False])
        whole = {id(patch): self._make_whole(patch) for patch in patches}
        whole_args, whole_kwargs = _map_nested((args, kwargs), lambda patch: whole[id(patch)])
        result = func(*whole_args, **whole_kwargs)
        for patch in patches:
            memory = whole[id(patch)].untyped_storage().data_ptr()
            if patch is target or any(part.untyped_storage().data_ptr() == memory for part in _tensors(result)):
                patch.whole = whole[id(patch)]  # later writes to the result also change the patch
        known = {id(tensor): patch for patch in patches if (tensor := patch.whole) is not None}

        def wrap(part: Tensor) -> Patch:
            return known[id(part)] if id(part) in known else self._whole_patch(part, views)

        return _map_nested(result, wrap, Tensor)

    def _make_whole(self, patch: Patch) -> Tensor:
        if patch.whole is not None:
            return patch.whole
        stretch = patch.stretch
        if self.recording:
            self._store(patch)
            self.record.largest = max(self.record.largest, WHOLE_COST * stretch.values.nbytes)
            return stretch.values
        reference = self.activation(patch)
        whole = reference.expand(len(stretch.values), *reference.shape).clone()
        put(whole, np.zeros_like(stretch.span.start), rows(stretch.values), stretch.span.start)
        whole = whole.movedim(1, -1).contiguous()
        return whole.flatten(1) if stretch.merged else whole

    def _patch(self, stretch: Stretch, views: list[bool]) -> Patch:
        values, n = stretch.values, stretch.span.n
        shape = tuple(values.shape) if self.recording else (*values.shape[:-1], n)
        if stretch.merged and not self.recording:
            shape = (shape[0], int(np.prod(shape[1:])))
        return Patch(self, shape, stretch, None, views)

    def _whole_patch(self, values: Tensor, views: list[bool]) -> Patch:
        return Patch(self, values.shape, None, values, views)

    def _store(self, patch: Patch) -> None:
        stretch = patch.stretch
        if stretch.key not in self.record.activations:
            values = stretch.values[0]
            values = values.unflatten(0, (-1, stretch.span.n)) if stretch.merged else values
            values = values.movedim(-1, 0)
            self.record.activations[stretch.key] = values.clone(memory_format=torch.contiguous_format)

    def activation(self, x: Patch | int) -> Tensor:
        """The reference's stored activation (n, ...)."""
        key = x if isinstance(x, int) else x.stretch.key
        if key not in self.record.activations:
            raise MissingActivation(key)
        return self.record.activations[key]

    def reference(self, x: Patch | int, start: Ints, width: int, fill: float = 0.0) -> Tensor:
        """Copy the reference's activation from positions `start` (B,) on: (B, width, ...); `fill` beyond its ends."""
        activation = self.activation(x)
        n, batch = len(activation), len(start)
        if batch == 1 and start[0] >= 0 and start[0] + width <= n:
            return activation[start[0] : start[0] + width].clone()[None]
        positions = start[:, None] + np.arange(width)
        values = activation.index_select(0, index_of(positions.clip(0, n - 1).ravel(), activation.device))
        outside = (positions < 0) | (positions >= n)
        if outside.any():
            values[torch.from_numpy(outside.ravel()).to(activation.device)] = fill
        return values.unflatten(0, (batch, width))

    def read(self, x: Patch, start: Ints, width: int, fill: float = 0.0) -> Tensor:
        """The alternatives' activation from positions `start` (B,) on: (B, width, ...), read-only.

        Positions outside the stretch come from the reference.
        """
        span, values = x.stretch.span, rows(x.stretch.values)
        offset = start - span.start
        if (offset >= 0).all() and (offset + width <= span.width).all():
            if (offset == offset[0]).all():
                return values[:, offset[0] : offset[0] + width]
            positions = (np.arange(len(start)) * span.width + offset)[:, None] + np.arange(width)
            flat = values.flatten(0, 1).index_select(0, index_of(positions.ravel(), values.device))
            return flat.unflatten(0, (len(start), width))
        combined = self.reference(x, start, width, fill)
        put(combined, start, values, span.start)
        return combined

    def difference(self, x: Patch) -> Tensor:
        """Alternatives minus reference, within the stretch: (B, width, ...)."""
        return rows(x.stretch.values) - self.reference(x, x.stretch.span.start, x.stretch.span.width)


def axes(x: Patch) -> int:
    """Number of axes the network sees; faster than the patch's own `ndim`."""
    return 2 if x.stretch.merged else x.stretch.values.ndim


METADATA = frozenset(
    [
        *(
            getattr(Tensor, name).__get__
            for name in ("shape", "dtype", "device", "ndim", "is_cpu", "is_cuda", "layout")
        ),
        *(getattr(Tensor, name).__get__ for name in ("requires_grad", "is_sparse", "is_quantized", "is_meta")),
        *(getattr(Tensor, name) for name in ("size", "dim", "numel", "is_floating_point", "is_complex", "__len__")),
        torch.numel,
        torch.is_floating_point,
        torch.ops.aten.sym_size.int,
    ]
)


def _writes_first_argument(func: Any) -> bool:
    name = getattr(func, "__name__", "").partition(".")[0]
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _inplace_flag_set(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if rule.flag is None:
        return False
    return bool(kwargs.get("inplace", args[rule.flag] if len(args) > rule.flag else False))


def _map_nested(value: Any, change: Callable[[Any], Any], kind: type = Patch) -> Any:
    """Apply a function to every object of a kind in nested lists, tuples and dicts."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {name: _map_nested(part, change, kind) for name, part in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        parts = [_map_nested(part, change, kind) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def patches_in(value: Any) -> Iterator[Patch]:
    return (part for part in _tensors(value) if isinstance(part, Patch))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _reference(patch: Patch) -> Tensor:
    return patch.stretch.values


class _Name(NamedTuple):
    key: int


def _name_of(patch: Patch) -> _Name:
    return _Name(patch.stretch.key)
