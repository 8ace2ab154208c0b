"""Saturation mutagenesis: what each of the three other bases at every position of a locus changes.

All alternatives are made to one window, so that they share a reference; what a score is, is defined in `scores`.
Axis letters: T tracks, 4 bases in the order A, C, G, T, L positions of the locus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, NoSequence
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Codes, Genome, N
from trackserver.models.card import ModelCard
from trackserver.progress import Progress, no_progress
from trackserver.variants.effect import Effect, check_known, output_bins, window_around
from trackserver.variants.scores import EPS, NARROW, Column, log_odds, pseudocounts

if TYPE_CHECKING:
    from trackserver.cone.cone import Change, Cones, Reached
    from trackserver.predict.engine import Predictor

MOST = 2_000  # bp of a locus
SCORES = {
    "log2fc": f"log2 of ALT over REF, each summed over {NARROW} bp around the position, the track's mean signal added "
    "to each bin",
    "sad": "sum over all bins of ALT - REF",
    "delta": "ALT - REF at the bin that changes most",
    "log_odds": "log2 odds of ALT less those of REF, at the bin that changes most",
}


@dataclass(frozen=True)
class Mutagenesis:
    """The map of a locus, and what follows from it.

    codes : (L,) the reference's bases
    tracks : (T,) the model's indices of the rows
    score : which of `SCORES` the map holds
    map : float32 (T, 4, L), the score of putting a base at a position; exactly 0 where the reference has it, NaN
        where the reference is N
    unknown : share of N in what the model read
    preview : from the slope at the reference, not from computed alternatives
    """

    locus: Locus
    codes: Codes
    tracks: tuple[int, ...]
    score: str
    map: NDArray[np.float32]
    unknown: float
    preview: bool = False

    @cached_property
    def importance(self) -> NDArray[np.float32]:
        """Less the mean score of the three alternatives, (T, L): positive where losing the base costs signal.

        The height of a logo's letter.
        """
        return 0 - self.map.sum(axis=1) / 3

    @cached_property
    def gain(self) -> NDArray[np.float32]:
        """The largest increase that an alternative brings, (T, L), at least 0."""
        return self.map.max(axis=1)

    @cached_property
    def loss(self) -> NDArray[np.float32]:
        """The largest decrease, (T, L), at most 0."""
        return self.map.min(axis=1)

    @cached_property
    def largest(self) -> NDArray[np.float32]:
        """The largest |score| of the alternatives, (T, L)."""
        return np.maximum(self.gain, -self.loss)

    @cached_property
    def logo(self) -> NDArray[np.float32]:
        """Importance in the row of the reference's base and 0 in the others, (T, 4, L); NaN where it is N."""
        own = self.codes == np.arange(len(BASES))[:, None]
        return np.where(own | (self.codes == N), self.importance[:, None], np.float32(0))


def default_score(card: ModelCard) -> str:
    """Log odds of a probability, as DeepSEA's authors draw such maps; of a signal log2 fold change, as effects have."""
    return "log_odds" if card.probability else "log2fc"


def checked_score(card: ModelCard, score: str) -> str:
    """The score that is meant, the model's own where none is named."""
    score = score or default_score(card)
    if score not in SCORES:
        raise InvalidRequest(f"No score '{score}' of mutagenesis; known: {', '.join(SCORES)}.")
    if score == "log_odds" and not card.probability:
        raise InvalidRequest(f"{card.id} does not predict probabilities, which log odds are of; choose log2fc or sad.")
    return score


def check_locus(card: ModelCard, genome: Genome, assembly: Assembly, locus: Locus) -> None:
    """Everything that can be wrong with a question, before anything is computed.

    Raises
    ------
    InvalidRequest
        The model is for another assembly, or the locus is too long for it, or for anything.
    NoSequence
        Hardly anything of the window, or nothing of the locus, is known sequence.
    """
    if assembly.name not in card.assemblies:
        raise InvalidRequest(
            f"Model {card.id} is for {' and '.join(card.assemblies)}; it cannot be asked about {assembly.name}."
        )
    if len(locus) > MOST:
        raise InvalidRequest(
            f"{locus} is {len(locus):,} bp; every base of at most {MOST:,} bp is changed at a time. Ask for less, or "
            "for one stretch after the other."
        )
    window = window_of(card, locus, assembly)
    if not _fits(locus, window, card, assembly):
        within = _within(window, card, assembly)
        raise InvalidRequest(
            f"{locus} is {len(locus):,} bp; {card.id} can be asked about {within} when it looks at its middle. Ask for "
            "less, or for one stretch after the other."
        )
    check_known(genome.codes(window), window, assembly)
    if (genome.codes(locus) == N).all():
        raise NoSequence(f"{assembly.name} reads nothing but N in {locus}; there is no base to change.")


def window_of(card: ModelCard, locus: Locus, assembly: Assembly) -> Locus:
    """The input window in whose middle the locus' middle lies, as it would for a variant there."""
    return window_around(card, locus.chrom, (locus.start + locus.end - 1) // 2, assembly)


def _within(window: Locus, card: ModelCard, assembly: Assembly) -> Locus:
    """Where bases can be changed: what is predicted, or where that is one value all that is read for it."""
    if card.kept == card.bin_width:
        return Locus(window.chrom, max(window.start, 0), min(window.end, assembly.chromsizes[window.chrom]))
    return output_bins(card, window, assembly)[0]


def _fits(locus: Locus, window: Locus, card: ModelCard, assembly: Assembly) -> bool:
    within = _within(window, card, assembly)
    return within.start <= locus.start and locus.end <= within.end


def mutagenesis(
    predictor: Predictor,
    genome: Genome,
    assembly: Assembly,
    locus: Locus,
    cones: Cones | None = None,
    *,
    score: str = "",
    report: Progress = no_progress,
) -> Mutagenesis:
    """The score of every other base at every known position of a locus.

    Parameters
    ----------
    cones
        Where what is kept of references is; None computes every alternative in full, to check with.
    score
        One of `SCORES`; by default the model's own.

    Raises
    ------
    InvalidRequest, NoSequence
        As `check_locus` and `checked_score`.
    """
    asked = _Asked.of(predictor, genome, assembly, locus, score)
    places = [(at, base) for at, own in enumerate(asked.codes) if own < N for base in range(N) if base != own]
    changed = [(asked.first + at, base) for at, base in places]
    ref, alternatives = _computed(predictor, asked.reference, changed, cones)
    readout = _Readout(asked.effect(ref), asked.score)
    found = asked.blank()
    for done, ((at, base), reached) in enumerate(zip(places, alternatives, strict=True), start=1):
        found[:, base, at] = readout.score(locus.start + at, *asked.shown(reached))
        report(done, len(places))
    return asked.answer(found)


def _computed(
    predictor: Predictor, reference: Codes, changed: Sequence[tuple[int, int]], cones: Cones | None
) -> tuple[NDArray[np.float32], Iterator[Reached]]:
    """The reference's bins (T, bins) of the whole window, and each alternative's."""
    from trackserver.cone.cone import Change

    changes = [Change(at, np.array([base], np.uint8)) for at, base in changed]
    if cones is None:
        return predictor.predict(reference[None])[0], _in_full(predictor, reference, changes)
    cone = cones.cone(predictor, reference)
    return cone.ref, cone.alternatives(changes)


def _in_full(predictor: Predictor, reference: Codes, changes: Sequence[Change]) -> Iterator[Reached]:
    from trackserver.cone.cone import Reached

    for start in range(0, len(changes), predictor.batch_size):
        some = changes[start : start + predictor.batch_size]
        windows = np.repeat(reference[None], len(some), axis=0)
        for window, change in zip(windows, some, strict=True):
            window[change.start] = change.codes[0]
        yield from (Reached(0, values) for values in predictor.predict(windows))


def preview(predictor: Predictor, genome: Genome, assembly: Assembly, locus: Locus, *, score: str = "") -> Mutagenesis:
    """The same map along the slope at the reference, from one pass back a track.

    Log2 fold changes are of the sum over 501 bp around the locus, the rest at the bin of the locus' middle.

    Raises
    ------
    InvalidRequest, NoSequence
        As of `mutagenesis`; more tracks than `predict.gradient.MOST_TRACKS`.
    """
    from trackserver.predict.gradient import linear, slopes

    asked = _Asked.of(predictor, genome, assembly, locus, score)
    bins = asked.bins_of_slope(predictor.card)
    ref, rises = slopes(predictor, asked.reference, slice(asked.bins.start + bins.start, asked.bins.start + bins.stop))
    readout = _Readout(asked.effect(ref), asked.score)
    inside = slice(asked.first, asked.first + len(locus))
    found = linear(rises[..., inside], asked.codes) * readout.slope(bins)[:, None, None]
    found[..., asked.codes == N] = np.nan
    return asked.answer(found.astype(np.float32), preview=True)


@dataclass(frozen=True)
class _Asked:
    """A locus in its window: `first` is the locus' first base there, `bins` are those of the output that are used."""

    predictor: Predictor
    locus: Locus
    score: str
    window: Locus
    reference: Codes
    first: int
    covered: Locus
    bins: slice
    origin: int
    unknown: float

    @classmethod
    def of(cls, predictor: Predictor, genome: Genome, assembly: Assembly, locus: Locus, score: str) -> _Asked:
        card = predictor.card
        check_locus(card, genome, assembly, locus)
        window = window_of(card, locus, assembly)
        reference = genome.codes(window)
        covered, bins = output_bins(card, window, assembly)
        return cls(
            predictor, locus, checked_score(card, score), window, reference, locus.start - window.start, covered, bins,
            window.start + card.crop + bins.start * card.bin_width, check_known(reference, window, assembly),
        )  # fmt: skip

    @property
    def codes(self) -> Codes:
        return self.reference[self.first : self.first + len(self.locus)]

    def effect(self, ref: NDArray[np.float32]) -> Effect:
        """What is predicted of the reference, as an effect of nothing."""
        ref = ref[:, self.bins]
        card, tracks = self.predictor.card, self.predictor.tracks
        return Effect((), card, self.window, self.covered, self.origin, tracks, ref, ref, (ref,), self.unknown)

    def shown(self, reached: Reached) -> tuple[int, NDArray[np.float32]]:
        """What of an alternative lies on the chromosome: its first bin of those, and the values."""
        first = reached.first - self.bins.start
        cut = max(0, -first)
        return first + cut, reached.alt[:, cut : max(0, self.bins.stop - reached.first)]

    def blank(self) -> NDArray[np.float32]:
        found = np.zeros((len(self.predictor.tracks), len(BASES), len(self.locus)), np.float32)
        found[..., self.codes == N] = np.nan
        return found

    def answer(self, found: NDArray[np.float32], preview: bool = False) -> Mutagenesis:
        return Mutagenesis(self.locus, self.codes, self.predictor.tracks, self.score, found, self.unknown, preview)

    def bins_of_slope(self, card: ModelCard) -> slice:
        """The bins whose sum a preview follows."""
        n_bins = self.bins.stop - self.bins.start
        if self.score == "sad":
            return slice(0, n_bins)
        reach = NARROW // 2 if self.score == "log2fc" else 0
        middle = (self.locus.start + self.locus.end - 1) // 2
        ends = (self.locus.start, self.locus.end - 1) if reach else (middle, middle)
        first, last = ((end - self.origin) // card.bin_width for end in (ends[0] - reach, ends[1] + reach))
        return slice(min(max(first, 0), n_bins - 1), max(min(last, n_bins - 1), 0) + 1)


class _Readout:
    """One score of an alternative, from the bins it reaches."""

    def __init__(self, effect: Effect, score: str):
        self.effect, self.ref = effect, effect.ref
        self.pseudo = pseudocounts(effect)
        self.kind = score
        # Of a 0-based position, and of values (T, n) from a bin on: (T,).
        self.score: Callable[[int, int, NDArray[np.float32]], Column] = {
            "log2fc": self._log2fc, "sad": self._sad, "delta": self._delta, "log_odds": self._log_odds,
        }[score]  # fmt: skip
        self._total = lru_cache(8)(self._sum_of_ref)

    def slope(self, bins: slice) -> Column:
        """How the score rises with the sum over some bins, (T,)."""
        total = self.ref[:, bins].astype(np.float64).sum(axis=1)
        if self.kind == "log2fc":
            added = self.pseudo * (bins.stop - bins.start)
            return np.asarray(1 / ((np.maximum(total, 0) + added) * np.log(2)))
        if self.kind == "log_odds":
            p = np.clip(total, EPS, 1 - EPS)
            return np.asarray(1 / (p * (1 - p) * np.log(2)))
        return np.ones(len(total))

    def _log2fc(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        mask = self._mask(position)
        lo, hi = max(first, mask.start), min(first + alt.shape[1], mask.stop)
        total = self._total(mask.start, mask.stop)
        if lo >= hi:
            return np.zeros(len(total))
        ref, changed = self.ref[:, lo:hi], alt[:, lo - first : hi - first]
        rise = (np.maximum(changed, 0).astype(np.float64) - np.maximum(ref, 0)).sum(axis=1)
        return np.asarray(np.log2(total + rise) - np.log2(total))

    def _sum_of_ref(self, first: int, stop: int) -> Column:
        values = np.maximum(self.ref[:, first:stop], 0).astype(np.float64) + self.pseudo[:, None]
        return np.asarray(values.sum(axis=1))

    def _mask(self, position: int) -> slice:
        """The bins that touch 501 bp around a position; of a model of one value always that."""
        at, width, n_bins = position - self.effect.origin, self.effect.bin_width, self.ref.shape[1]
        first = min(max((at - NARROW // 2) // width, 0), n_bins - 1)
        return slice(first, max(min((at + NARROW // 2) // width + 1, n_bins), first + 1))

    def _sad(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        return np.asarray(self._rise(first, alt).sum(axis=1))

    def _delta(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        ref, changed = self._at_strongest(first, alt)
        return changed - ref

    def _log_odds(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        ref, changed = self._at_strongest(first, alt)
        return log_odds(changed) - log_odds(ref)

    def _rise(self, first: int, alt: NDArray[np.float32]) -> Column:
        return alt.astype(np.float64) - self.ref[:, first : first + alt.shape[1]]

    def _at_strongest(self, first: int, alt: NDArray[np.float32]) -> tuple[Column, Column]:
        """REF and ALT (T,) at the bin where they differ most."""
        if not alt.shape[1]:
            return np.zeros(len(alt)), np.zeros(len(alt))
        rows, at = np.arange(len(alt)), np.abs(self._rise(first, alt)).argmax(axis=1)
        return self.ref[rows, first + at].astype(np.float64), alt[rows, at].astype(np.float64)
