"""Predict edits of a window exactly, recomputing only what each edit can reach.

The reference runs through the network once, and the activations needed later are stored. An alternative then costs only
the cone of its edit: a stretch of positions that grows from layer to layer. A dense layer or a mean reuses the
reference's sum and adds the changed terms; after attention everything is recomputed. Nothing is approximate: in exact
arithmetic, two full predictions would give the same result.
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

    from trackserver.cone.patch import CannotFollow, MissingActivation, Pass, Patch, Record
    from trackserver.cone.rules import RULES
    from trackserver.cone.span import spanning

if TYPE_CHECKING:
    from trackserver.cone.span import Ints

MAX_BATCH = 256
MAX_ACTIVATION_BYTES = 2**26  # of any one activation of a batch of alternatives


@dataclass(frozen=True)
class WindowEdit:
    """A substitution of n bases of a window, some of which may stay the same.

    start : 0-based position in the window
    codes : the new bases, uint8 (n,), n >= 1
    """

    start: int
    codes: Codes


class ReachedBins(NamedTuple):
    """The bins of an alternative that can differ from the reference; all others equal the reference exactly.

    first : the first of these bins
    alt : float32 (T, n), their values; n is 0 if the edit reaches nothing
    """

    first: int
    alt: NDArray[np.float32]


class Cone:
    """A window's reference prediction, with the stored activations that make alternatives cheap.

    Attributes
    ----------
    ref
        float32 (T, bins), the prediction for the reference window.
    """

    def __init__(self, predictor: Predictor, reference: Codes):
        """Run the reference once for each strand and shift that the predictor averages.

        Parameters
        ----------
        reference
            Base codes (L,), a window as `Predictor.predict` takes it.

        Raises
        ------
        InvalidRequest
            The model does not read windows of this length.
        """
        if reference.ndim != 1 or not predictor.card.accepts_length(len(reference)):
            raise InvalidRequest(
                f"{predictor.card.id} reads windows of {predictor.card.window:,} bp, not {reference.shape}."
            )
        self.predictor, self.reference = predictor, np.minimum(reference, N)
        with torch.inference_mode():
            self._views = [ReferenceView(predictor, view, self.reference) for view in predictor.views]
            outputs = [view.run() for view in self._views]
            # With a single view, `_overlay` never needs the output.
            self._outputs = outputs if len(outputs) > 1 else []
            self.ref: NDArray[np.float32] = predictor.average(outputs)[0].cpu().numpy()

    @property
    def nbytes(self) -> int:
        """Memory of the stored activations and the reference's outputs."""
        stored = sum(view.nbytes for view in self._views) + sum(output.nbytes for output in self._outputs)
        return self.ref.nbytes + stored

    def predict_edits(self, edits: Sequence[WindowEdit], batch_size: int | None = None) -> Iterator[ReachedBins]:
        """Predict each edit of the reference, in order.

        Parameters
        ----------
        batch_size
            Edits computed at once; None to choose by memory and speed. Batches are fastest if edits that are close in
            the window follow each other.

        Raises
        ------
        InvalidRequest
            An edit is empty, or not within the window.
        """
        for edit in edits:
            _check(edit, len(self.reference))
        size = batch_size or self._batch_size()
        for start in range(0, len(edits), size):
            with torch.inference_mode():
                batch = self._batch(edits[start : start + size])
            yield from batch

    def predict_views(self, edit: WindowEdit) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield REF and ALT, float32 (T, bins), for each view separately; only if there are several views."""
        _check(edit, len(self.reference))
        for i, output in enumerate(self._outputs):
            reference = self._views[i]
            with torch.inference_mode():
                (part,) = reference.predict_edits([edit])
                alt = self._overlay(i, part, 0, output.shape[-1])
                values = [self.predictor.view_values(reference.view, outputs)[0] for outputs in (output, alt)]
            yield values[0], values[1]

    def _batch_size(self) -> int:
        largest = max(view.largest for view in self._views)
        return max(1, min(MAX_BATCH, MAX_ACTIVATION_BYTES // largest))

    def _batch(self, edits: Sequence[WindowEdit]) -> list[ReachedBins]:
        parts = [view.predict_edits(edits) for view in self._views]
        return [self._average([view_parts[i] for view_parts in parts]) for i in range(len(edits))]

    def _average(self, parts: list[Part | None]) -> ReachedBins:
        """Average one edit's views over all bins that any of them reaches."""
        reached = [
            self._flip(view, part.first, part.stop)
            for view, part in zip(self._views, parts, strict=True)
            if part is not None and part.stop > part.first
        ]
        if not reached:
            return ReachedBins(0, np.empty((len(self.ref), 0), np.float32))
        first, stop = min(lo for lo, _ in reached), max(hi for _, hi in reached)
        outputs = (self._overlay(i, part, *self._flip(self._views[i], first, stop)) for i, part in enumerate(parts))
        values = self.predictor.average(outputs)[0]
        return ReachedBins(first, np.ascontiguousarray(values.cpu().numpy()))

    def _flip(self, view: ReferenceView, first: int, stop: int) -> tuple[int, int]:
        """Convert a range of bins from the window's order to the view's, which starts at its own 5' end, or back."""
        bins = self.ref.shape[1]
        return (bins - stop, bins - first) if view.view.reverse else (first, stop)

    def _overlay(self, i: int, part: Part | None, first: int, stop: int) -> Tensor:
        """(1, rows, stop - first) of view `i`, in the view's order of bins: the reference overlaid with the part."""
        if part is not None and (part.first, part.stop) == (first, stop):
            return part.values[None]
        values = self._outputs[i][..., first:stop].clone()
        if part is not None:
            values[0, :, part.first - first : part.stop - first] = part.values
        return values


def _check(edit: WindowEdit, length: int) -> None:
    if edit.codes.ndim != 1 or not len(edit.codes):
        raise InvalidRequest("An edit needs at least one base.")
    if edit.start < 0 or edit.start + len(edit.codes) > length:
        raise InvalidRequest(
            f"An edit of positions {edit.start:,} to {edit.start + len(edit.codes):,} lies outside the window "
            f"of {length:,} bp."
        )


class Part(NamedTuple):
    """The bins one view reaches, from `first` on in the view's own order; values (rows, n)."""

    first: int
    values: Tensor

    @property
    def stop(self) -> int:
        return self.first + self.values.shape[-1]


class ReferenceView:
    """The reference window on one strand and shift, with its stored activations."""

    def __init__(self, predictor: Predictor, view: View, reference: Codes):
        self.predictor, self.view = predictor, view
        self.codes = view.apply(reference[None])[0]
        self._lock = threading.Lock()
        self._record: Record | None = None

    @property
    def nbytes(self) -> int:
        return self._record.nbytes if self._record else 0

    @property
    def largest(self) -> int:
        """Approximate bytes of an alternative's largest activation."""
        return self._record.largest if self._record else MAX_ACTIVATION_BYTES // self.predictor.batch_size

    def run(self, wanted: frozenset[int] = frozenset()) -> Tensor:
        """Run the network on the window (1, rows, bins) and store the activations that alternatives need.

        `wanted` : keys of further activations to store, besides those the rules ask for
        """
        align = self._record.align if self._record else {}
        record = Record(align=dict(align), wanted=wanted)
        run = Pass(record, RULES, self.predictor.layouts, recording=True)
        middle = np.array([len(self.codes) // 2])  # a typical edit, to decide what to store
        try:
            values = self.predictor.one_hot(self.codes[None])
            output = self.predictor.module(run.start(values, spanning(middle, middle + 1, len(self.codes))))
        except CannotFollow:
            self._record = None
            return self.predictor.run(self.codes[None])
        self._record = record
        return _values(output)

    def predict_edits(self, edits: Sequence[WindowEdit]) -> list[Part | None]:
        """Predict the bins each edit reaches on this view; None if the edit changes nothing here."""
        on_view = [self._to_view(edit) for edit in edits]
        effective = [edit for edit in on_view if edit is not None]
        parts = iter(self._parts(effective) if effective else ())
        return [None if edit is None else next(parts) for edit in on_view]

    def _to_view(self, edit: WindowEdit) -> WindowEdit | None:
        """The edit in this view's coordinates, trimmed to bases that change and lie in the window."""
        start, codes, length = edit.start, np.minimum(edit.codes, N), len(self.codes)
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
        return WindowEdit(first + int(differ[0]), codes[differ[0] : differ[-1] + 1])

    def _parts(self, edits: list[WindowEdit]) -> list[Part]:
        record = self._record
        if record is None:
            return self._run_whole(edits)
        try:
            return self._in_cone(record, edits)
        except CannotFollow:
            return self._run_whole(edits)
        except MissingActivation as missing:
            self._store_also(record, missing.key)
            return self._parts(edits)

    def _store_also(self, record: Record, key: int) -> None:
        with self._lock:
            if key in record.wanted:  # asked for before, and still missing: the reference does not compute it
                self._record = None
            elif self._record is record:
                self.run(record.wanted | {key})

    def _in_cone(self, record: Record, edits: list[WindowEdit]) -> list[Part]:
        lo = np.array([edit.start for edit in edits])
        hi = lo + [len(edit.codes) for edit in edits]
        span = spanning(lo, hi, len(self.codes), record.align.get(0, 1))
        codes = self._edited_codes(edits, span.start, span.width)
        run = Pass(record, RULES, self.predictor.layouts, recording=False)
        output = self.predictor.module(run.start(self.predictor.one_hot(codes), span))
        if not isinstance(output, Patch) or output.whole is not None:
            return [Part(0, values) for values in _values(output)]
        values, span = output.stretch.values, output.stretch.span
        return [
            Part(int(lo), values[b, :, lo - start : hi - start])
            for b, (lo, hi, start) in enumerate(zip(span.lo, span.hi, span.start, strict=True))
        ]

    def _edited_codes(self, edits: list[WindowEdit], start: Ints, width: int) -> Codes:
        """(B, width) codes of the alternatives, from positions `start` (B,) on."""
        codes = self.codes[start[:, None] + np.arange(width)]
        for row, edit, first in zip(codes, edits, start, strict=True):
            row[edit.start - first : edit.start - first + len(edit.codes)] = edit.codes
        return codes

    def _run_whole(self, edits: list[WindowEdit]) -> list[Part]:
        parts: list[Part] = []
        for first in range(0, len(edits), self.predictor.batch_size):
            some = edits[first : first + self.predictor.batch_size]
            codes = self._edited_codes(some, np.zeros(len(some), np.int64), len(self.codes))
            parts += [Part(0, values) for values in self.predictor.run(codes)]
        return parts


def _values(output: Tensor) -> Tensor:
    if not isinstance(output, Patch):
        return output
    return output.stretch.values if output.whole is None else output.whole


class Cones:
    """Cache of the most recently used cones, bounded in bytes; thread-safe."""

    def __init__(self, max_bytes: int):
        self._cache = ByteCache(max_bytes)
        self._building = threading.Lock()

    def cone(self, predictor: Predictor, reference: Codes) -> Cone:
        """Return the cone of a window (L,), building it if it is not cached; raises as `Cone` does."""
        # A cached cone keeps its predictor alive, so no other predictor can have the same id.
        key = (id(predictor), hashlib.sha256(np.minimum(reference, N).tobytes()).digest())
        cone: Cone | None = self._cache.get(key)
        if cone is None:
            with self._building:  # one at a time: each takes the whole processor and much memory
                cone = self._cache.get(key) or Cone(predictor, reference)
                self._cache.put(key, cone, cone.nbytes)
        return cone
