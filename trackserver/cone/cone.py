"""What an allele changes, by computing again only what the change can reach.

A window's reference goes through the network once, and the activations that are read again are kept. Alternatives then
cost what lies in the cone of their change: a stretch of positions that grows from layer to layer. Where a dense layer
or a mean follows, the reference's sum and the changed terms; where attention does, everything from there on. Nothing is
approximate: in exact arithmetic, two full predictions would say the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, needing_torch
from trackserver.genome.sequence import Codes, N, reverse_complement
from trackserver.predict.engine import Predictor, View
from trackserver.sources.cache import ByteCache

with needing_torch():
    import torch
    from torch import Tensor

    from trackserver.cone.patch import NotFollowed, NotKept, Pass, Patch, Record
    from trackserver.cone.rules import RULES
    from trackserver.cone.span import spanning

if TYPE_CHECKING:
    from trackserver.cone.span import Ints

MOST_AT_ONCE = 256
ACTIVATION_BYTES = 2**26  # of all alternatives computed at once, in any one activation


@dataclass(frozen=True)
class Change:
    """What a window reads instead, from `start` on: as many bases, some of which may be as they were.

    start : 0-based in the window
    codes : uint8 (n,), n >= 1
    """

    start: int
    codes: Codes


class Reached(NamedTuple):
    """What an alternative predicts where it can differ from the reference; elsewhere it is the reference, exactly.

    first : the bin where that begins
    alt : float32 (T, n), the values from there on; n is 0 where nothing is reached
    """

    first: int
    alt: NDArray[np.float32]


class Cone:
    """A window's reference, ready for alternatives.

    Attributes
    ----------
    ref
        float32 (T, bins), what the predictor says about the window.
    """

    def __init__(self, predictor: Predictor, reference: Codes):
        """Run the reference, once for each strand and shift that the predictor averages.

        Parameters
        ----------
        reference
            Base codes (L,), a window as `Predictor.predict` takes it.

        Raises
        ------
        InvalidRequest
            The model does not read windows of this length.
        """
        if reference.ndim != 1 or not predictor.card.reads(len(reference)):
            raise InvalidRequest(
                f"{predictor.card.id} reads windows of {predictor.card.window:,} bp, not {reference.shape}."
            )
        self.predictor, self.reference = predictor, np.minimum(reference, N)
        with torch.inference_mode():
            self._views = [Reference(predictor, view, self.reference) for view in predictor.views]
            outputs = [view.run() for view in self._views]
            # One view's parts are never put over its output.
            self._outputs = outputs if len(outputs) > 1 else []
            self.ref: NDArray[np.float32] = predictor.average(outputs)[0].cpu().numpy()

    @property
    def nbytes(self) -> int:
        """The memory that is kept: activations, and the reference's outputs."""
        kept = sum(view.nbytes for view in self._views) + sum(output.nbytes for output in self._outputs)
        return self.ref.nbytes + kept

    def alternatives(self, changes: Sequence[Change], batch_size: int | None = None) -> Iterator[Reached]:
        """What each alternative predicts, in the order of `changes`, each of which is made to the reference.

        Parameters
        ----------
        batch_size
            Alternatives computed at once; None for as many as memory and speed suggest. Neighbours in the window that
            follow each other go together best.

        Raises
        ------
        InvalidRequest
            A change is empty, or not within the window.
        """
        for change in changes:
            _check(change, len(self.reference))
        size = batch_size or self._batch_size()
        for start in range(0, len(changes), size):
            with torch.inference_mode():
                batch = self._batch(changes[start : start + size])
            yield from batch

    def each(self, change: Change) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """REF and ALT, float32 (T, bins), as each of several views alone says them."""
        _check(change, len(self.reference))
        for i, output in enumerate(self._outputs):
            of = self._views[i]
            with torch.inference_mode():
                (part,) = of.alternatives([change])
                alt = self._over(i, part, 0, output.shape[-1])
                yield self.predictor.alone(of.view, output)[0], self.predictor.alone(of.view, alt)[0]

    def _batch_size(self) -> int:
        largest = max(view.largest for view in self._views)
        return max(1, min(MOST_AT_ONCE, ACTIVATION_BYTES // largest))

    def _batch(self, changes: Sequence[Change]) -> list[Reached]:
        parts = [view.alternatives(changes) for view in self._views]
        return [self._averaged([of_view[i] for of_view in parts]) for i in range(len(changes))]

    def _averaged(self, parts: list[Part | None]) -> Reached:
        """One alternative's values over all bins that any view reaches."""
        reached = [
            self._turned(view, part.first, part.stop)
            for view, part in zip(self._views, parts, strict=True)
            if part is not None and part.stop > part.first
        ]
        if not reached:
            return Reached(0, np.empty((len(self.ref), 0), np.float32))
        first, stop = min(lo for lo, _ in reached), max(hi for _, hi in reached)
        outputs = (self._over(i, part, *self._turned(self._views[i], first, stop)) for i, part in enumerate(parts))
        values = self.predictor.average(outputs)[0]
        return Reached(first, np.ascontiguousarray(values.cpu().numpy()))

    def _turned(self, view: Reference, first: int, stop: int) -> tuple[int, int]:
        """Bins of the window as bins from a view's own 5' end, or the other way round."""
        bins = self.ref.shape[1]
        return (bins - stop, bins - first) if view.view.reverse else (first, stop)

    def _over(self, i: int, part: Part | None, first: int, stop: int) -> Tensor:
        """(1, rows, stop - first) of view `i`, bins counted as it does: the reference and over it the part."""
        if part is not None and (part.first, part.stop) == (first, stop):
            return part.values[None]
        values = self._outputs[i][..., first:stop].clone()
        if part is not None:
            values[0, :, part.first - first : part.stop - first] = part.values
        return values


def _check(change: Change, length: int) -> None:
    if change.codes.ndim != 1 or not len(change.codes):
        raise InvalidRequest("A change needs at least one base.")
    if change.start < 0 or change.start + len(change.codes) > length:
        raise InvalidRequest(
            f"A change of positions {change.start:,} to {change.start + len(change.codes):,} is not within the window "
            f"of {length:,} bp."
        )


class Part(NamedTuple):
    """What one view reaches: bins from `first` on, as it reads them; values (rows, n)."""

    first: int
    values: Tensor

    @property
    def stop(self) -> int:
        return self.first + self.values.shape[-1]


class Reference:
    """A window as one view reads it."""

    def __init__(self, predictor: Predictor, view: View, reference: Codes):
        self.predictor, self.view = predictor, view
        self.codes = view.of(reference[None])[0]
        self._lock = threading.Lock()
        self._record: Record | None = None

    @property
    def nbytes(self) -> int:
        return self._record.nbytes if self._record else 0

    @property
    def largest(self) -> int:
        """About the most bytes that an alternative takes in one activation."""
        return self._record.largest if self._record else ACTIVATION_BYTES // self.predictor.batch_size

    def run(self, wanted: frozenset[int] = frozenset()) -> Tensor:
        """What the network gives for the window (1, rows, bins), of which from now on is kept what alternatives need.

        `wanted` : activations to be kept besides those that are known to be read again
        """
        align = self._record.align if self._record else {}
        record = Record(align=dict(align), wanted=wanted)
        run = Pass(record, RULES, self.predictor.layouts, recording=True)
        middle = np.array([len(self.codes) // 2])  # where a change may be, as far as what is kept depends on it
        try:
            values = self.predictor.one_hot(self.codes[None])
            output = self.predictor.module(run.start(values, spanning(middle, middle + 1, len(self.codes))))
        except NotFollowed:
            self._record = None
            return self.predictor.run(self.codes[None])
        self._record = record
        return _values(output)

    def alternatives(self, changes: Sequence[Change]) -> list[Part | None]:
        """What each change reaches here; None where there is nothing to change."""
        seen = [self._seen(change) for change in changes]
        changed = [change for change in seen if change is not None]
        parts = iter(self._parts(changed) if changed else ())
        return [None if change is None else next(parts) for change in seen]

    def _seen(self, change: Change) -> Change | None:
        """The change as this view reads it, without bases that stay as they are or leave the window."""
        start, codes, length = change.start, np.minimum(change.codes, N), len(self.codes)
        if self.view.reverse:
            start, codes = length - start - len(codes), reverse_complement(codes)
        start += self.view.shift
        first, stop = max(start, 0), min(start + len(codes), length)
        if first >= stop:
            return None
        codes = codes[first - start : stop - start]
        differ = np.flatnonzero(self.codes[first:stop] != codes)
        if not len(differ):
            return None
        return Change(first + int(differ[0]), codes[differ[0] : differ[-1] + 1])

    def _parts(self, changes: list[Change]) -> list[Part]:
        record = self._record
        if record is None:
            return self._in_full(changes)
        try:
            return self._in_cone(record, changes)
        except NotFollowed:
            return self._in_full(changes)
        except NotKept as missing:
            self._keep_also(record, missing.key)
            return self._parts(changes)

    def _keep_also(self, record: Record, key: int) -> None:
        with self._lock:
            if key in record.wanted:  # it was found missing before, and it is none of those the reference has
                self._record = None
            elif self._record is record:
                self.run(record.wanted | {key})

    def _in_cone(self, record: Record, changes: list[Change]) -> list[Part]:
        lo = np.array([change.start for change in changes])
        hi = lo + [len(change.codes) for change in changes]
        span = spanning(lo, hi, len(self.codes), record.align.get(0, 1))
        codes = self._changed(changes, span.start, span.width)
        run = Pass(record, RULES, self.predictor.layouts, recording=False)
        output = self.predictor.module(run.start(self.predictor.one_hot(codes), span))
        if not isinstance(output, Patch) or output.whole is not None:
            return [Part(0, values) for values in _values(output)]
        values, span = output.stretch.values, output.stretch.span
        return [
            Part(int(lo), values[b, :, lo - start : hi - start])
            for b, (lo, hi, start) in enumerate(zip(span.lo, span.hi, span.start, strict=True))
        ]

    def _changed(self, changes: list[Change], start: Ints, width: int) -> Codes:
        """(B, width) of the alternatives' codes from `start` (B,) on."""
        codes = self.codes[start[:, None] + np.arange(width)]
        for row, change, first in zip(codes, changes, start, strict=True):
            row[change.start - first : change.start - first + len(change.codes)] = change.codes
        return codes

    def _in_full(self, changes: list[Change]) -> list[Part]:
        parts: list[Part] = []
        for first in range(0, len(changes), self.predictor.batch_size):
            some = changes[first : first + self.predictor.batch_size]
            codes = self._changed(some, np.zeros(len(some), np.int64), len(self.codes))
            parts += [Part(0, values) for values in self.predictor.run(codes)]
        return parts


def _values(output: Tensor) -> Tensor:
    if not isinstance(output, Patch):
        return output
    return output.stretch.values if output.whole is None else output.whole


class Cones:
    """The cones used last, within a bound of bytes; safe from several threads."""

    def __init__(self, most_bytes: int):
        self._held = ByteCache(most_bytes)
        self._building = threading.Lock()

    def cone(self, predictor: Predictor, reference: Codes) -> Cone:
        """The cone of a window (L,), made where it is not held; see `Cone` for what can be wrong."""
        # The predictor is alive as long as a cone of it is held, so no other has its id.
        key = (id(predictor), hashlib.sha256(np.minimum(reference, N).tobytes()).digest())
        found = self._held.held(key)
        if found is None:
            with self._building:  # one at a time: each takes all of the processor and much memory
                found = self._held.held(key) or Cone(predictor, reference)
                self._held.keep(key, found, found.nbytes)
        cone: Cone = found
        return cone
