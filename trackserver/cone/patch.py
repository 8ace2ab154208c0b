"""Activations that differ from a reference's in one stretch, and a network run on them: by its own `forward`.

The reference goes through the network once, as a `Patch` of itself, and is recorded: each operation, and of the
activations those that will be read again. Alternatives then go the same way. What each operation does to a stretch
is told by rules (see `local`); one without a rule gets the whole activations, put together from the reference and the
stretch, and what comes of it is whole from there on. So any network works, and nothing is approximate.

A network that does not do the same operations for an alternative as for the reference is noticed: `NotFollowed`.
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

WHOLE = 4  # what a network goes on to make of a whole activation is so many times as large, at a guess


class NotFollowed(Exception):
    """The network does something that cannot be told apart by stretches; it is to be run on whole windows."""


class NotKept(Exception):
    """The reference's activation of that key is needed and was not kept."""

    def __init__(self, key: int):
        self.key = key
        super().__init__(f"activation {key}")


@dataclass
class Stretch:
    """A patch's content: `values` (B, ..., width), or while recording the whole reference (1, ..., n).

    key : the operation it comes from
    origin : the operation that chose its span
    merged : whether channels and positions are one axis to the network, as before a dense layer
    """

    key: int
    origin: int
    values: Tensor
    span: Span
    merged: bool = False


class Patch(Tensor):
    """To the network a tensor of whole windows (B, ..., n); it has no memory but that of its stretch, or its whole."""

    run: Pass
    stretch: Stretch
    whole: Tensor | None
    views: list[bool]  # whether another patch sees the same memory; itself shared with that patch

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
        """What came here did not ask above: it gets whole tensors."""
        return cls.__torch_function__(func, types, args, kwargs)


class Step(NamedTuple):
    """What a rule makes of an operation.

    span : of the result; None where it has no positions any more and is whole
    apply : the alternatives' values in that span; None where the result is the first patch itself
    origin : of the result, if not this operation
    reads : patches whose reference `apply` reads
    keeps : whether `apply` reads the reference of the result itself
    views : whether the result is a view of the first patch
    facts : what must be the same for the reference and the alternatives, if not all arguments
    crop : the positions of the first patch, if the result is those and nothing else
    """

    span: Span | None
    apply: Callable[[], Tensor] | None
    origin: int | None = None
    reads: tuple[Patch, ...] = ()
    keeps: bool = False
    views: bool = False
    merged: bool = False
    facts: object = None
    crop: slice | None = None


class Rule(NamedTuple):
    """`step` makes a Step of the arguments, or None where this use of the operation is not local."""

    step: Callable[..., Step | None]
    flag: int | None = None  # the place of an argument `inplace`
    names: frozenset[str] | None = None  # of the arguments it knows; None for all but `out`

    def knows(self, kwargs: dict[str, Any]) -> bool:
        return "out" not in kwargs if self.names is None else kwargs.keys() <= self.names


class Pass:
    """One way through the network: the reference's, which is recorded, or that of some alternatives to it."""

    def __init__(self, record: Record, rules: Mapping[Any, Rule], layouts: Layouts, recording: bool):
        self.record, self.rules, self.layouts, self.recording = record, rules, layouts, recording
        self.done = 0

    def start(self, values: Tensor, span: Span) -> Patch:
        """The network's input: `values` (B, 4, width) in a span, or the reference (1, 4, L) and where it is changed."""
        patch = self._patch(Stretch(0, 0, values, span), [False])
        if self.recording and 0 in self.record.wanted:
            self._keep(patch)
        return patch

    @property
    def key(self) -> int:
        """Of the operation for which a rule is asked."""
        return self.done + 1

    def span(self, lo: Ints, hi: Ints, n: int) -> Span:
        """Of the result of the operation for which a rule is asked."""
        return spanning(lo, hi, n, self.record.align.get(self.key, 1))

    def want_aligned(self, x: Patch, width: int) -> bool:
        """Have the span of `x` chosen so that cells of `width` positions are whole, from the next pass on.

        A pool then reads nothing but what is held, and the activation before it, a network's largest, is not kept.
        """
        if x.stretch.span.n < width:
            return False
        if self.recording:
            self._align(x.stretch.origin, width)
        return True

    def joins(self, patches: Sequence[Patch]) -> None:
        """The operation for which a rule is asked puts these patches' spans together."""
        if self.recording:
            self.record.joined[self.key] = tuple(patch.stretch.origin for patch in patches)

    def _align(self, key: int, width: int) -> None:
        self.record.align[key] = int(np.lcm(self.record.align.get(key, 1), width))
        for origin in self.record.joined.get(key, ()):
            self._align(origin, width)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patches: list[Patch]) -> Any:
        if func in METADATA:
            return self._about(func, args, kwargs, patches[0])
        rule = self.rules.get(func)
        in_place = _changes_first(func) or (rule is not None and _flagged(rule, args, kwargs))
        if in_place and not (args and isinstance(args[0], Patch) and not args[0].views[0]):
            raise NotFollowed
        if rule and rule.knows(kwargs) and all(patch.whole is None for patch in patches):
            step = rule.step(self, *args, **kwargs)
            if step is not None:
                return self._take(func, args, kwargs, step, patches[0], in_place)
        return self._in_full(func, args, kwargs, patches, in_place)

    def _about(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patch: Patch) -> Any:
        if patch.whole is not None:
            return func(patch.whole, *args[1:], **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def _take(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], step: Step, first: Patch, in_place: bool
    ) -> Patch:
        key, record = self.key, self.record
        self._agree(func, (args, kwargs) if step.facts is None else step.facts)
        self.done = key
        if step.apply is None:
            return first
        if self.recording:
            for patch in step.reads:
                self._keep(patch)
            values = func(*_mapped(args, _reference), **_mapped(kwargs, _reference))
        else:
            values = step.apply()
        if step.span is None:
            if self.recording and step.keeps:
                record.results[key] = values.clone()
            return self._whole(values, [False])
        views = first.views if step.views else [False]
        views[0] |= step.views
        origin = key if step.origin is None else step.origin
        result = self._patch(Stretch(key, origin, values, step.span, step.merged), views)
        if self.recording:
            self._size(result)
            if step.crop is not None and first.stretch.key in record.kept:
                record.kept[key] = record.kept[first.stretch.key][step.crop]  # a view
            if step.keeps or key in record.wanted:
                self._keep(result)
        if in_place:
            first.stretch = result.stretch
            return first
        return result

    def _size(self, patch: Patch) -> None:
        stretch = patch.stretch
        nbytes = stretch.values.nbytes // stretch.span.n * stretch.span.width
        self.record.largest = max(self.record.largest, nbytes)

    def _agree(self, func: Any, facts: object) -> None:
        """An alternative must do what the reference did."""
        facts = _mapped(facts, _named)
        if self.recording:
            self.record.steps.append((func, facts))
        elif self.done >= len(self.record.steps) or not equal(self.record.steps[self.done], (func, facts)):
            raise NotFollowed

    def _in_full(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patches: list[Patch], in_place: bool
    ) -> Any:
        if "out" in kwargs:
            raise NotFollowed
        target = args[0] if in_place else None
        views = next((patch.views for patch in patches if patch.views[0]), [False])
        whole = {id(patch): self._made_whole(patch) for patch in patches}
        result = func(*_mapped(args, lambda patch: whole[id(patch)]), **_mapped(kwargs, lambda patch: whole[id(patch)]))
        for patch in patches:
            memory = whole[id(patch)].untyped_storage().data_ptr()
            if patch is target or any(part.untyped_storage().data_ptr() == memory for part in _tensors(result)):
                patch.whole = whole[id(patch)]  # what is done to the result is done to it
        known = {id(tensor): patch for patch in patches if (tensor := patch.whole) is not None}
        return _mapped(result, lambda part: known[id(part)] if id(part) in known else self._whole(part, views), Tensor)

    def _made_whole(self, patch: Patch) -> Tensor:
        if patch.whole is not None:
            return patch.whole
        stretch = patch.stretch
        if self.recording:
            self._keep(patch)
            self.record.largest = max(self.record.largest, WHOLE * stretch.values.nbytes)
            return stretch.values
        kept = self.kept(patch)
        whole = kept.expand(len(stretch.values), *kept.shape).clone()
        put(whole, np.zeros_like(stretch.span.start), rows(stretch.values), stretch.span.start)
        whole = whole.movedim(1, -1).contiguous()
        return whole.flatten(1) if stretch.merged else whole

    def _patch(self, stretch: Stretch, views: list[bool]) -> Patch:
        values, n = stretch.values, stretch.span.n
        shape = tuple(values.shape) if self.recording else (*values.shape[:-1], n)
        if stretch.merged and not self.recording:
            shape = (shape[0], int(np.prod(shape[1:])))
        return Patch(self, shape, stretch, None, views)

    def _whole(self, values: Tensor, views: list[bool]) -> Patch:
        return Patch(self, values.shape, None, values, views)

    def _keep(self, patch: Patch) -> None:
        stretch = patch.stretch
        if stretch.key not in self.record.kept:
            values = stretch.values[0]
            values = values.unflatten(0, (-1, stretch.span.n)) if stretch.merged else values
            values = values.movedim(-1, 0)
            self.record.kept[stretch.key] = torch.empty(values.shape, dtype=values.dtype, device=values.device).copy_(
                values
            )

    def kept(self, x: Patch | int) -> Tensor:
        """The reference's activation (n, ...)."""
        key = x if isinstance(x, int) else x.stretch.key
        if key not in self.record.kept:
            raise NotKept(key)
        return self.record.kept[key]

    def reference(self, x: Patch | int, start: Ints, width: int, fill: float = 0.0) -> Tensor:
        """The reference's activation at other places: (B, width, ...) of its own; `fill` where there is none."""
        kept = self.kept(x)
        n, batch = len(kept), len(start)
        if batch == 1 and start[0] >= 0 and start[0] + width <= n:
            return kept[start[0] : start[0] + width].clone()[None]
        places = start[:, None] + np.arange(width)
        taken = kept.index_select(0, index_of(places.clip(0, n - 1).ravel(), kept.device))
        outside = (places < 0) | (places >= n)
        if outside.any():
            taken[torch.from_numpy(outside.ravel()).to(kept.device)] = fill
        return taken.unflatten(0, (batch, width))

    def read(self, x: Patch, start: Ints, width: int, fill: float = 0.0) -> Tensor:
        """The alternatives' activation at other places than those held: (B, width, ...), not to be written to."""
        held, values = x.stretch.span, rows(x.stretch.values)
        offset = start - held.start
        if (offset >= 0).all() and (offset + width <= held.width).all():
            if (offset == offset[0]).all():
                return values[:, offset[0] : offset[0] + width]
            places = (np.arange(len(start)) * held.width + offset)[:, None] + np.arange(width)
            flat = values.flatten(0, 1).index_select(0, index_of(places.ravel(), values.device))
            return flat.unflatten(0, (len(start), width))
        taken = self.reference(x, start, width, fill)
        put(taken, start, values, held.start)
        return taken

    def change(self, x: Patch) -> Tensor:
        """What the alternatives are more than the reference, where they are held: (B, width, ...)."""
        return rows(x.stretch.values) - self.reference(x, x.stretch.span.start, x.stretch.span.width)


def axes(x: Patch) -> int:
    """How many axes the network sees, without asking the patch, which is slower."""
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


def _changes_first(func: Any) -> bool:
    name = getattr(func, "__name__", "").partition(".")[0]
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _flagged(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if rule.flag is None:
        return False
    return bool(kwargs.get("inplace", args[rule.flag] if len(args) > rule.flag else False))


def _mapped(value: Any, change: Callable[[Any], Any], kind: type = Patch) -> Any:
    """A nest of lists, tuples and dicts, with each object of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(part, change, kind) for name, part in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        parts = [_mapped(part, change, kind) for part in value]
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


def _named(patch: Patch) -> _Name:
    return _Name(patch.stretch.key)
