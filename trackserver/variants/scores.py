"""Numbers that say how much an effect changes each track, as the field's tools define them.

All tracks at once: (T,) columns. Of an indel every score is taken for each alignment of its ALT with the reference and
then averaged, as Calico's baskerville does; averaging the predictions first would blur them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import DataError
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.models.card import ModelCard

NARROW, WIDE = 501, 2001  # bp around the variant: AlphaGenome's masks, 501 for accessibility, TF and CAGE, 2001 for
# histone marks (Avsec et al. 2025)
MODERATE, STRONG = 0.2, 0.5  # |Δ| of a probability, as DeepSEA's authors speak of effects
EPS = 1e-6  # nearest a probability comes to 0 and 1 in a log odds

Column = NDArray[np.float64]


class Alleles(Protocol):
    """What scores are made of: REF and ALT over bins, as `effect.Effect` holds them."""

    @property
    def card(self) -> ModelCard: ...
    @property
    def variants(self) -> tuple[Variant, ...]: ...
    @property
    def locus(self) -> Locus: ...
    @property
    def origin(self) -> int: ...
    @property
    def bin_width(self) -> int: ...
    @property
    def middle(self) -> int: ...
    @property
    def tracks(self) -> tuple[int, ...]: ...
    @property
    def ref(self) -> NDArray[np.float32]: ...
    @property
    def alt(self) -> NDArray[np.float32]: ...
    @property
    def delta(self) -> NDArray[np.float32]: ...
    @property
    def alignments(self) -> tuple[NDArray[np.float32], ...]: ...


class ScoredEffect(Alleles, Protocol):
    @property
    def scores(self) -> dict[str, Column]: ...


@dataclass(frozen=True)
class TrackScores:
    """One track's row of the ranked table, in the model's output units unless said.

    ref, alt, delta : values at the bin `at` where |Δ| is largest; `delta` is SAX of Basenji's tools
    sad, log_sad : sum over all bins of Δ, and of log2(ALT + 1) - log2(REF + 1) (Kelley et al. 2018)
    d1, d2 : sum of |Δ|, root of the sum of Δ² over all bins (Basenji's tools)
    sum501, sum2001 : sum of Δ over the bins that touch so many bp around the variant (AlphaGenome's DIFF_SUM)
    log2fc, log2fc2001 : log2 of ALT over REF, each summed over these bp, with the track's pseudocount added to each
        bin so that a fold change of nothing stays small (AlphaGenome's DIFF_LOG2_SUM)
    log_odds : of probabilities log2 odds of ALT less that of REF at the bin `at` (DeepSEA); None of others
    size : what the track counts in impact and ranks by: |Δ| at the bin `at` of a probability or a
        sequence class, else |log2fc|
    verdict : of probabilities `none`, `moderate` from |Δ| 0.2 on, `strong` from 0.5 on; empty of others
    activity : the larger of REF and ALT, summed over 501 bp
    effect_percentile, activity_percentile : the share, in per cent, of the background's variants whose size, or
        activity, in this track is smaller; None without a background
    """

    index: int
    at: Locus
    ref: float
    alt: float
    delta: float
    sad: float
    log_sad: float
    d1: float
    d2: float
    sum501: float
    sum2001: float
    log2fc: float
    log2fc2001: float
    log_odds: float | None
    size: float
    verdict: str
    activity: float
    effect_percentile: float | None
    activity_percentile: float | None
    max_abs_delta: float
    max_value: float


@dataclass(frozen=True, eq=False)
class Background:
    """What random variants do to the tracks of a model.

    `sizes` and `activities` are float32 (T, n), each row sorted; `tracks` (T,) are the model's indices of the rows.
    """

    tracks: tuple[int, ...]
    sizes: NDArray[np.float32]
    activities: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.sizes.shape != self.activities.shape or len(self.sizes) != len(self.tracks) or not self.sizes.size:
            raise DataError("A background needs as many rows of sizes and of activities as it has tracks.")

    @cached_property
    def _row(self) -> dict[int, int]:
        return {track: row for row, track in enumerate(self.tracks)}

    def percentiles(self, track: int, size: float, activity: float) -> tuple[float, float] | None:
        """The shares, in per cent, of its variants whose size and whose activity is smaller; None of other tracks."""
        if (row := self._row.get(track)) is None:
            return None
        return _share(self.sizes[row], size), _share(self.activities[row], activity)


def _share(held: NDArray[np.float32], value: float) -> float:
    return 100 * int(np.searchsorted(held, np.float32(value))) / len(held)


def rank(effect: ScoredEffect, background: Background | None = None) -> list[TrackScores]:
    """Scores of every track, the largest size first; ties by index."""
    scored, card = effect.scores, effect.card
    asked = zip(effect.tracks, scored["size"], scored["activity"], strict=True)
    shares = [_shares(background, *row) for row in asked]
    names = ("sad", "log_sad", "d1", "d2", "sum501", "sum2001", "log2fc", "log2fc2001", "size", "activity", "ref",
             "alt", "delta", "max_value")  # fmt: skip
    lists = {name: scored[name].tolist() for name in names}
    odds = scored["log_odds"].tolist() if card.probability else [None] * len(effect.tracks)
    bins = scored["bin"].tolist()
    rows = [
        TrackScores(
            index=track,
            at=bin_locus(effect, bins[row]),
            log_odds=odds[row],
            verdict=verdict_of(lists["delta"][row]) if card.probability else "",
            max_abs_delta=abs(lists["delta"][row]),
            effect_percentile=shares[row][0],
            activity_percentile=shares[row][1],
            **{name: lists[name][row] for name in names},
        )
        for row, track in enumerate(effect.tracks)
    ]
    return sorted(rows, key=lambda scores: (-scores.size, scores.index))


def _shares(
    background: Background | None, track: int, size: float, activity: float
) -> tuple[float, float] | tuple[None, None]:
    return (background.percentiles(track, size, activity) if background else None) or (None, None)


def score_columns(effect: Alleles) -> dict[str, Column]:
    """Each score of all tracks, (T,) float64, by the names of `TrackScores`; `bin` is the bin of the largest |Δ|."""
    shown, card = _at_strongest(effect), effect.card
    parts = [_scored(effect, alt.astype(np.float64)) for alt in effect.alignments]
    scored = {name: reduce(add, (part[name] for part in parts)) / len(parts) for name in parts[0]}
    if card.probability:
        shown["log_odds"] = log_odds(shown["alt"]) - log_odds(shown["ref"])
    by_difference = card.probability or card.head == "classes"  # a class's score may be negative: no fold change then
    size = np.abs(shown["delta"]) if by_difference else np.abs(scored["log2fc"])
    return {**scored, **shown, "size": size}


def _at_strongest(effect: Alleles) -> dict[str, Column]:
    strongest = np.abs(effect.delta).argmax(axis=1)
    rows = np.arange(len(strongest))
    values = {name: getattr(effect, name)[rows, strongest].astype(np.float64) for name in ("ref", "alt", "delta")}
    top = np.maximum(effect.ref.max(axis=1), effect.alt.max(axis=1)).astype(np.float64)
    return {**values, "bin": strongest, "max_value": top}


def _scored(effect: Alleles, alt: Column) -> dict[str, Column]:
    """Of one alignment; `alt` (T, bins)."""
    ref = effect.ref.astype(np.float64)
    delta, pseudo = alt - ref, pseudocounts(effect)
    narrow, wide = bins_around(effect, NARROW), bins_around(effect, WIDE)
    return {
        "sad": delta.sum(axis=1),
        "log_sad": (_log1p2(alt) - _log1p2(ref)).sum(axis=1),
        "d1": np.abs(delta).sum(axis=1),
        "d2": np.sqrt((delta**2).sum(axis=1)),
        "sum501": delta[:, narrow].sum(axis=1),
        "sum2001": delta[:, wide].sum(axis=1),
        "log2fc": fold_change(ref[:, narrow], alt[:, narrow], pseudo),
        "log2fc2001": fold_change(ref[:, wide], alt[:, wide], pseudo),
        "activity": np.maximum(ref[:, narrow].sum(axis=1), alt[:, narrow].sum(axis=1)),
    }


def _log1p2(values: Column) -> Column:
    # Networks without a rectified end may go a little below 0, where the published score is not defined.
    return np.log2(np.maximum(values, 0) + 1)


def fold_change(ref: Column, alt: Column, pseudo: Column) -> Column:
    """log2 of ALT over REF (T, bins), each summed with its track's pseudocount (T,) added to each bin."""
    totals = ((np.maximum(values, 0) + pseudo[:, None]).sum(axis=1) for values in (ref, alt))
    of_ref, of_alt = (np.log2(total) for total in totals)
    return np.asarray(of_alt - of_ref)


def log_odds(probability: Column) -> Column:
    """log2(p / (1 - p)), p kept `EPS` away from 0 and 1."""
    p = np.clip(probability, EPS, 1 - EPS)
    return np.asarray(np.log2(p / (1 - p)))


def verdict_of(delta: float) -> str:
    return "strong" if abs(delta) >= STRONG else "moderate" if abs(delta) >= MODERATE else "none"


def impact(effect: ScoredEffect, weights: Mapping[str, float]) -> float:
    """Sum over tracks of their size times the weight of their assay, 1 where none is set."""
    by_assay = {assay.lower(): weight for assay, weight in weights.items()}
    each = [by_assay.get(effect.card.tracks[track].assay.lower(), 1.0) for track in effect.tracks]
    return float(np.dot(effect.scores["size"], each))


def pseudocounts(effect: Alleles) -> Column:
    """(T,) each track's mean signal; where that is not known 1, as Calico's log scores add, or .01 of a probability."""
    unknown = 0.01 if effect.card.probability else 1.0
    means = (effect.card.tracks[track].mean for track in effect.tracks)
    return np.array([unknown if mean is None else max(mean, 1e-6) for mean in means])


def bins_around(effect: Alleles, width: int) -> slice:
    """Bins that touch `width` bp around the middle of the variants."""
    middle = effect.middle - effect.origin
    first = max(0, (middle - width // 2) // effect.bin_width)
    return slice(first, (middle + width // 2) // effect.bin_width + 1)


def bin_locus(effect: Alleles, index: int) -> Locus:
    start = effect.origin + index * effect.bin_width
    return Locus(effect.locus.chrom, max(start, 0), min(start + effect.bin_width, effect.locus.end))
