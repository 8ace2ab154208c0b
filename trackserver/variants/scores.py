"""Scores of an effect: how much each track changes, as the field's tools define it.

Scores are computed for all tracks at once, as (T,) columns. For an indel, every score is computed for each alignment of
ALT with the reference and then averaged, as Calico's baskerville does; averaging the predictions first would blur them.
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

NARROW, WIDE = 501, 2001  # bp around the variant. AlphaGenome's masks: 501 for accessibility, TF and CAGE, 2001 for
# histone marks (Avsec et al. 2025)
MODERATE, STRONG = 0.2, 0.5  # |Δ| of a probability, the thresholds of DeepSEA's authors
EPS = 1e-6  # log odds clip probabilities to [EPS, 1 - EPS]

Column = NDArray[np.float64]


class Alleles(Protocol):
    """REF and ALT over bins, which scores are computed from; `effect.Effect` is one."""

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
    """One track's row of the ranked table. Values are in the model's output units unless stated otherwise.

    ref, alt, delta : values at the bin `at`, where |Δ| is largest; `delta` is SAX in Basenji's tools
    sad, log_sad : sum over all bins of Δ, and of log2(ALT + 1) - log2(REF + 1) (Kelley et al. 2018)
    d1, d2 : sum of |Δ|, and root of the sum of Δ², over all bins (Basenji's tools)
    sum501, sum2001 : sum of Δ over the bins that touch 501 or 2,001 bp around the variant (AlphaGenome's DIFF_SUM)
    log2fc, log2fc2001 : log2 of ALT over REF, each summed over 501 or 2,001 bp. The track's pseudocount is added to
        each bin, so that tracks without signal have small fold changes (AlphaGenome's DIFF_LOG2_SUM)
    log_odds : log2 odds of ALT minus those of REF at the bin `at` (DeepSEA); None unless the model predicts
        probabilities
    size : what tracks are ranked by, and what counts in the impact: |Δ| at the bin `at` for a probability or a
        sequence class, |log2fc| otherwise
    verdict : for probabilities `none`, `moderate` (|Δ| at least 0.2) or `strong` (at least 0.5); empty otherwise
    activity : the larger of REF and ALT, summed over 501 bp
    effect_percentile, activity_percentile : percentage of the background's variants with a smaller size, or activity,
        in this track; None without a background
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
    """Effects of random variants on the tracks of a model, which percentiles are taken from.

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
        """Percentage of variants with a smaller size, and with a smaller activity; None for an unknown track."""
        if (row := self._row.get(track)) is None:
            return None
        return _percentile(self.sizes[row], size), _percentile(self.activities[row], activity)


def _percentile(ascending: NDArray[np.float32], value: float) -> float:
    return 100 * int(np.searchsorted(ascending, np.float32(value))) / len(ascending)


def rank(effect: ScoredEffect, background: Background | None = None) -> list[TrackScores]:
    """Scores of every track, largest size first; ties by index."""
    scores, card = effect.scores, effect.card
    tracks = zip(effect.tracks, scores["size"], scores["activity"], strict=True)
    percentiles = [_percentiles(background, *track) for track in tracks]
    names = ("sad", "log_sad", "d1", "d2", "sum501", "sum2001", "log2fc", "log2fc2001", "size", "activity", "ref",
             "alt", "delta", "max_value")  # fmt: skip
    values = {name: scores[name].tolist() for name in names}
    odds = scores["log_odds"].tolist() if card.probability else [None] * len(effect.tracks)
    bins = scores["bin"].tolist()
    rows = [
        TrackScores(
            index=track,
            at=bin_locus(effect, bins[row]),
            log_odds=odds[row],
            verdict=verdict_of(values["delta"][row]) if card.probability else "",
            max_abs_delta=abs(values["delta"][row]),
            effect_percentile=percentiles[row][0],
            activity_percentile=percentiles[row][1],
            **{name: values[name][row] for name in names},
        )
        for row, track in enumerate(effect.tracks)
    ]
    return sorted(rows, key=lambda row: (-row.size, row.index))


def _percentiles(
    background: Background | None, track: int, size: float, activity: float
) -> tuple[float, float] | tuple[None, None]:
    return (background.percentiles(track, size, activity) if background else None) or (None, None)


def compute_scores(effect: Alleles) -> dict[str, Column]:
    """Each score for all tracks, (T,) float64, by its name in `TrackScores`; `bin` is the bin of the largest |Δ|."""
    strongest, card = _at_strongest_bin(effect), effect.card
    parts = [_sums(effect, alt.astype(np.float64)) for alt in effect.alignments]
    means = {name: reduce(add, (part[name] for part in parts)) / len(parts) for name in parts[0]}
    if card.probability:
        strongest["log_odds"] = log_odds(strongest["alt"]) - log_odds(strongest["ref"])
    by_difference = card.probability or card.head == "classes"  # class scores may be negative: no fold change
    size = np.abs(strongest["delta"]) if by_difference else np.abs(means["log2fc"])
    return {**means, **strongest, "size": size}


def _at_strongest_bin(effect: Alleles) -> dict[str, Column]:
    strongest = np.abs(effect.delta).argmax(axis=1)
    rows = np.arange(len(strongest))
    values = {name: getattr(effect, name)[rows, strongest].astype(np.float64) for name in ("ref", "alt", "delta")}
    top = np.maximum(effect.ref.max(axis=1), effect.alt.max(axis=1)).astype(np.float64)
    return {**values, "bin": strongest, "max_value": top}


def _sums(effect: Alleles, alt: Column) -> dict[str, Column]:
    """The scores that sum over bins, for one alignment `alt` (T, bins)."""
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
    # Networks whose last layer is not rectified may predict slightly negative values, for which the published score is
    # not defined.
    return np.log2(np.maximum(values, 0) + 1)


def fold_change(ref: Column, alt: Column, pseudo: Column) -> Column:
    """log2 of ALT over REF (T, bins), each summed after the track's pseudocount (T,) is added to each bin."""
    totals = ((np.maximum(values, 0) + pseudo[:, None]).sum(axis=1) for values in (ref, alt))
    log_ref, log_alt = (np.log2(total) for total in totals)
    return np.asarray(log_alt - log_ref)


def log_odds(probability: Column) -> Column:
    """log2(p / (1 - p)), with p clipped to [EPS, 1 - EPS]."""
    p = np.clip(probability, EPS, 1 - EPS)
    return np.asarray(np.log2(p / (1 - p)))


def verdict_of(delta: float) -> str:
    return "strong" if abs(delta) >= STRONG else "moderate" if abs(delta) >= MODERATE else "none"


def impact(effect: ScoredEffect, weights: Mapping[str, float]) -> float:
    """Sum over tracks of size times the weight of the track's assay (default: 1)."""
    by_assay = {assay.lower(): weight for assay, weight in weights.items()}
    track_weights = [by_assay.get(effect.card.tracks[track].assay.lower(), 1.0) for track in effect.tracks]
    return float(np.dot(effect.scores["size"], track_weights))


def pseudocounts(effect: Alleles) -> Column:
    """(T,) each track's mean signal. If that is unknown: 0.01 for a probability, else 1, as in Calico's log scores."""
    default = 0.01 if effect.card.probability else 1.0
    means = (effect.card.tracks[track].mean for track in effect.tracks)
    return np.array([default if mean is None else max(mean, 1e-6) for mean in means])


def bins_around(effect: Alleles, width: int) -> slice:
    """The bins that touch `width` bp around the middle of the variants."""
    middle = effect.middle - effect.origin
    first = max(0, (middle - width // 2) // effect.bin_width)
    return slice(first, (middle + width // 2) // effect.bin_width + 1)


def bin_locus(effect: Alleles, index: int) -> Locus:
    start = effect.origin + index * effect.bin_width
    return Locus(effect.locus.chrom, max(start, 0), min(start + effect.bin_width, effect.locus.end))
