"""Saturation mutagenesis: the effect of each of the three other bases at every position of a locus.

All substitutions are made in one input window, so that they share a reference; `scores` defines the scores.
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
    from trackserver.cone.cone import Cones, ReachedBins, WindowEdit
    from trackserver.predict.engine import Predictor

MAX_BP = 2_000  # of a locus
SCORES = {
    "log2fc": f"log2 of ALT over REF, each summed over {NARROW} bp around the position, after the track's mean signal "
    "is added to each bin",
    "sad": "sum over all bins of ALT - REF",
    "delta": "ALT - REF at the bin that changes most",
    "log_odds": "log2 odds of ALT minus those of REF, at the bin that changes most",
}


@dataclass(frozen=True)
class Mutagenesis:
    """The map of a locus: the score of every base at every position, with summaries of it.

    codes : (L,) the reference's bases
    tracks : (T,) the model's track index of each row
    score : the name of the map's score, one of `SCORES`
    map : float32 (T, 4, L), the score of putting a base at a position; exactly 0 for the reference's own base, NaN
        where the reference is N
    unknown : share of N in the model's window
    preview : estimated from the gradient at the reference instead of predicted for each substitution
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
        """Minus the mean score of the three substitutions, (T, L): positive where losing the base costs signal.

        This is the height of a logo's letter.
        """
        return 0 - self.map.sum(axis=1) / 3

    @cached_property
    def gain(self) -> NDArray[np.float32]:
        """The largest increase by any substitution, (T, L), at least 0."""
        return self.map.max(axis=1)

    @cached_property
    def loss(self) -> NDArray[np.float32]:
        """The largest decrease by any substitution, (T, L), at most 0."""
        return self.map.min(axis=1)

    @cached_property
    def largest(self) -> NDArray[np.float32]:
        """The largest |score| of any substitution, (T, L)."""
        return np.maximum(self.gain, -self.loss)

    @cached_property
    def logo(self) -> NDArray[np.float32]:
        """Importance in the row of the reference's base, 0 in the other rows, (T, 4, L); NaN where the base is N."""
        own = self.codes == np.arange(len(BASES))[:, None]
        return np.where(own | (self.codes == N), self.importance[:, None], np.float32(0))


def default_score(card: ModelCard) -> str:
    """Log odds for a probability, as in the maps of DeepSEA's authors; log2 fold change for a signal, as in effects."""
    return "log_odds" if card.probability else "log2fc"


def resolve_score(card: ModelCard, score: str) -> str:
    """Check the name of a score; an empty name is the model's default."""
    score = score or default_score(card)
    if score not in SCORES:
        raise InvalidRequest(f"Mutagenesis has no score '{score}'; known: {', '.join(SCORES)}.")
    if score == "log_odds" and not card.probability:
        raise InvalidRequest(f"Log odds need probabilities, and {card.id} does not predict any; choose log2fc or sad.")
    return score


def check_locus(card: ModelCard, genome: Genome, assembly: Assembly, locus: Locus) -> None:
    """Check that a model can compute a map of the locus.

    Raises
    ------
    InvalidRequest
        The model is for another assembly, or the locus is longer than the model, or any map, allows.
    NoSequence
        Most of the window, or all of the locus, is unknown sequence.
    """
    if assembly.name not in card.assemblies:
        raise InvalidRequest(
            f"Model {card.id} is for {' and '.join(card.assemblies)}; it cannot be used with {assembly.name}."
        )
    if len(locus) > MAX_BP:
        raise InvalidRequest(
            f"{locus} is {len(locus):,} bp, but a map covers at most {MAX_BP:,} bp. Ask for a shorter locus, or split "
            "it into several."
        )
    window = window_of(card, locus, assembly)
    allowed = _allowed_locus(window, card, assembly)
    if locus.start < allowed.start or locus.end > allowed.end:
        raise InvalidRequest(
            f"{locus} is {len(locus):,} bp; centred there, {card.id} can only map {allowed}. Ask for a shorter locus, "
            "or split it into several."
        )
    check_known(genome.codes(window), window, assembly)
    if (genome.codes(locus) == N).all():
        raise NoSequence(f"{assembly.name} has nothing but N in {locus}; there is no base to change.")


def window_of(card: ModelCard, locus: Locus, assembly: Assembly) -> Locus:
    """The input window around the middle of a locus, placed as for a variant there."""
    return window_around(card, locus.chrom, (locus.start + locus.end - 1) // 2, assembly)


def _allowed_locus(window: Locus, card: ModelCard, assembly: Assembly) -> Locus:
    """Where bases can be changed: the output's locus; for a model with one output bin, its whole input window."""
    if card.predicted_bp == card.bin_width:
        return Locus(window.chrom, max(window.start, 0), min(window.end, assembly.chromsizes[window.chrom]))
    return output_bins(card, window, assembly)[0]


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
    """Compute the score of every substitution at every known position of a locus.

    Parameters
    ----------
    cones
        The cache of reference activations; None predicts every substitution in full, as a check.
    score
        One of `SCORES`; by default the model's own.

    Raises
    ------
    InvalidRequest, NoSequence
        See `check_locus` and `resolve_score`.
    """
    target = _Target.prepare(predictor, genome, assembly, locus, score)
    substitutions = [
        (offset, base) for offset, own in enumerate(target.codes) if own < N for base in range(N) if base != own
    ]
    in_window = [(target.first + offset, base) for offset, base in substitutions]
    ref, alts = _predict(predictor, target.reference, in_window, cones)
    readout = _Readout(target.effect(ref), target.score)
    scores = target.empty_map()
    for done, ((offset, base), reached) in enumerate(zip(substitutions, alts, strict=True), start=1):
        scores[:, base, offset] = readout.score(locus.start + offset, *target.on_chromosome(reached))
        report(done, len(substitutions))
    return target.result(scores)


def _predict(
    predictor: Predictor, reference: Codes, substitutions: Sequence[tuple[int, int]], cones: Cones | None
) -> tuple[NDArray[np.float32], Iterator[ReachedBins]]:
    """The whole window's bins for the reference (T, bins), and the changed bins of each substitution."""
    from trackserver.cone.cone import WindowEdit

    edits = [WindowEdit(offset, np.array([base], np.uint8)) for offset, base in substitutions]
    if cones is None:
        return predictor.predict(reference[None])[0], _predict_in_full(predictor, reference, edits)
    cone = cones.cone(predictor, reference)
    return cone.ref, cone.predict_edits(edits)


def _predict_in_full(predictor: Predictor, reference: Codes, edits: Sequence[WindowEdit]) -> Iterator[ReachedBins]:
    from trackserver.cone.cone import ReachedBins

    for start in range(0, len(edits), predictor.batch_size):
        batch = edits[start : start + predictor.batch_size]
        windows = np.repeat(reference[None], len(batch), axis=0)
        for window, edit in zip(windows, batch, strict=True):
            window[edit.start] = edit.codes[0]
        yield from (ReachedBins(0, values) for values in predictor.predict(windows))


def preview(predictor: Predictor, genome: Genome, assembly: Assembly, locus: Locus, *, score: str = "") -> Mutagenesis:
    """Estimate the map from the gradient at the reference, with one backward pass per track.

    Log2 fold changes are of the sum over 501 bp around the locus; other scores are at the bin of the locus' middle.

    Raises
    ------
    InvalidRequest, NoSequence
        See `mutagenesis`; or there are more tracks than `predict.gradient.MAX_SLOPE_TRACKS`.
    """
    from trackserver.predict.gradient import linear, slopes

    target = _Target.prepare(predictor, genome, assembly, locus, score)
    bins = target.preview_bins(predictor.card)
    ref, gradients = slopes(
        predictor, target.reference, slice(target.bins.start + bins.start, target.bins.start + bins.stop)
    )
    readout = _Readout(target.effect(ref), target.score)
    inside = slice(target.first, target.first + len(locus))
    scores = linear(gradients[..., inside], target.codes) * readout.slope(bins)[:, None, None]
    scores[..., target.codes == N] = np.nan
    return target.result(scores.astype(np.float32), preview=True)


@dataclass(frozen=True)
class _Target:
    """A locus in its input window, checked.

    first : offset of the locus' first base in the window
    bins, covered : the output bins on the chromosome, and the locus that they cover
    """

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
    def prepare(cls, predictor: Predictor, genome: Genome, assembly: Assembly, locus: Locus, score: str) -> _Target:
        card = predictor.card
        check_locus(card, genome, assembly, locus)
        window = window_of(card, locus, assembly)
        reference = genome.codes(window)
        covered, bins = output_bins(card, window, assembly)
        return cls(
            predictor, locus, resolve_score(card, score), window, reference, locus.start - window.start, covered, bins,
            window.start + card.crop + bins.start * card.bin_width, check_known(reference, window, assembly),
        )  # fmt: skip

    @property
    def codes(self) -> Codes:
        return self.reference[self.first : self.first + len(self.locus)]

    def effect(self, ref: NDArray[np.float32]) -> Effect:
        """The reference's prediction, as an effect without variants."""
        ref = ref[:, self.bins]
        card, tracks = self.predictor.card, self.predictor.tracks
        return Effect((), card, self.window, self.covered, self.origin, tracks, ref, ref, (ref,), self.unknown)

    def on_chromosome(self, reached: ReachedBins) -> tuple[int, NDArray[np.float32]]:
        """A substitution's changed bins that lie on the chromosome: the first bin, and the values."""
        first = reached.first - self.bins.start
        cut = max(0, -first)
        return first + cut, reached.alt[:, cut : max(0, self.bins.stop - reached.first)]

    def empty_map(self) -> NDArray[np.float32]:
        scores = np.zeros((len(self.predictor.tracks), len(BASES), len(self.locus)), np.float32)
        scores[..., self.codes == N] = np.nan
        return scores

    def result(self, scores: NDArray[np.float32], preview: bool = False) -> Mutagenesis:
        return Mutagenesis(self.locus, self.codes, self.predictor.tracks, self.score, scores, self.unknown, preview)

    def preview_bins(self, card: ModelCard) -> slice:
        """The bins whose sum a preview takes the gradient of."""
        n_bins = self.bins.stop - self.bins.start
        if self.score == "sad":
            return slice(0, n_bins)
        reach = NARROW // 2 if self.score == "log2fc" else 0
        middle = (self.locus.start + self.locus.end - 1) // 2
        ends = (self.locus.start, self.locus.end - 1) if reach else (middle, middle)
        first, last = ((end - self.origin) // card.bin_width for end in (ends[0] - reach, ends[1] + reach))
        return slice(min(max(first, 0), n_bins - 1), max(min(last, n_bins - 1), 0) + 1)


class _Readout:
    """Computes one score of a substitution from the bins it changes."""

    def __init__(self, effect: Effect, score: str):
        self.effect, self.ref = effect, effect.ref
        self.pseudo = pseudocounts(effect)
        self.name = score
        # Arguments: 0-based position, first changed bin, ALT (T, n) from that bin on. Returns (T,).
        self.score: Callable[[int, int, NDArray[np.float32]], Column] = {
            "log2fc": self._log2fc, "sad": self._sad, "delta": self._delta, "log_odds": self._log_odds,
        }[score]  # fmt: skip
        self._ref_total = lru_cache(8)(self._sum_ref)

    def slope(self, bins: slice) -> Column:
        """Derivative of the score with respect to the sum over the bins, (T,)."""
        total = self.ref[:, bins].astype(np.float64).sum(axis=1)
        if self.name == "log2fc":
            added = self.pseudo * (bins.stop - bins.start)
            return np.asarray(1 / ((np.maximum(total, 0) + added) * np.log(2)))
        if self.name == "log_odds":
            p = np.clip(total, EPS, 1 - EPS)
            return np.asarray(1 / (p * (1 - p) * np.log(2)))
        return np.ones(len(total))

    def _log2fc(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        mask = self._mask(position)
        lo, hi = max(first, mask.start), min(first + alt.shape[1], mask.stop)
        total = self._ref_total(mask.start, mask.stop)
        if lo >= hi:
            return np.zeros(len(total))
        ref, changed = self.ref[:, lo:hi], alt[:, lo - first : hi - first]
        rise = (np.maximum(changed, 0).astype(np.float64) - np.maximum(ref, 0)).sum(axis=1)
        return np.asarray(np.log2(total + rise) - np.log2(total))

    def _sum_ref(self, first: int, stop: int) -> Column:
        values = np.maximum(self.ref[:, first:stop], 0).astype(np.float64) + self.pseudo[:, None]
        return np.asarray(values.sum(axis=1))

    def _mask(self, position: int) -> slice:
        """The bins that touch 501 bp around a position; at least one, because a model may have a single bin."""
        offset, width, n_bins = position - self.effect.origin, self.effect.bin_width, self.ref.shape[1]
        first = min(max((offset - NARROW // 2) // width, 0), n_bins - 1)
        return slice(first, max(min((offset + NARROW // 2) // width + 1, n_bins), first + 1))

    def _sad(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        return np.asarray(self._rise(first, alt).sum(axis=1))

    def _delta(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        ref, changed = self._at_strongest_bin(first, alt)
        return changed - ref

    def _log_odds(self, position: int, first: int, alt: NDArray[np.float32]) -> Column:
        ref, changed = self._at_strongest_bin(first, alt)
        return log_odds(changed) - log_odds(ref)

    def _rise(self, first: int, alt: NDArray[np.float32]) -> Column:
        return alt.astype(np.float64) - self.ref[:, first : first + alt.shape[1]]

    def _at_strongest_bin(self, first: int, alt: NDArray[np.float32]) -> tuple[Column, Column]:
        """REF and ALT (T,) at the bin where they differ most."""
        if not alt.shape[1]:
            return np.zeros(len(alt)), np.zeros(len(alt))
        rows, offsets = np.arange(len(alt)), np.abs(self._rise(first, alt)).argmax(axis=1)
        return self.ref[rows, first + offsets].astype(np.float64), alt[rows, offsets].astype(np.float64)
