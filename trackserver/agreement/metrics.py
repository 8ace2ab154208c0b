"""Metrics of agreement between predicted and observed bins, in numpy only. An undefined metric is NaN.

Every function leaves out bins in which either side is NaN (uncovered, or not predicted); `track_metrics` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Without called peaks, this share of the bins counts as peaks: a common choice for open chromatin.
TOP = 0.05


@dataclass(frozen=True)
class TrackMetrics:
    """One track's metrics over many bins; `window_pearson` is the mean of the Pearson r within each window."""

    pearson: float
    spearman: float
    log1p_pearson: float
    auprc: float
    window_pearson: float
    bins: int
    left_out: int


NAMES = ("pearson", "spearman", "log1p_pearson", "auprc", "window_pearson")


def paired_bins(predicted: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    """Both as flat float64 arrays, without the bins in which either is not finite."""
    one, other = np.asarray(predicted, np.float64).ravel(), np.asarray(observed, np.float64).ravel()
    known = np.isfinite(one) & np.isfinite(other)
    return (one, other) if known.all() else (one[known], other[known])


def pearson(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Pearson r; NaN with fewer than two bins or if one side is constant."""
    return _correlation(*paired_bins(predicted, observed))


def _correlation(one: Floats, other: Floats) -> float:
    # Test the range, because rounding of the mean gives a constant side a tiny variance instead of zero.
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    r = one @ other / np.sqrt((one @ one) * (other @ other))
    return float(np.clip(r, -1.0, 1.0))


def spearman(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Spearman rho: Pearson r of the ranks, ties sharing their mean rank."""
    one, other = paired_bins(predicted, observed)
    return _correlation(_ranks(one), _ranks(other))


def _ranks(values: Floats) -> Floats:
    order = np.argsort(values)
    ends = _ends_of_ties(values[order])
    sizes = np.diff(ends, prepend=0)
    ranks = np.empty(values.size)
    ranks[order] = np.repeat(ends - (sizes - 1) / 2, sizes)
    return ranks


def _ends_of_ties(ordered: Floats) -> NDArray[np.intp]:
    """One past the last of each group of equal values."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], ordered.size > 0)) + 1


def log1p_pearson(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Pearson r of log(1 + y), which no single large peak dominates; values below 0 count as 0."""
    one, other = paired_bins(predicted, observed)
    return _correlation(np.log1p(np.maximum(one, 0)), np.log1p(np.maximum(other, 0)))


def auprc(predicted: ArrayLike, observed: ArrayLike, top: float = TOP) -> float:
    """Area under the precision-recall curve; peaks are the top share of the observed bins, see `top_share`.

    By chance it is about `top`. NaN if all bins are equal.
    """
    scores, values = paired_bins(predicted, observed)
    return average_precision(scores, top_share(values, top))


def top_share(values: Floats, top: float = TOP) -> Mask:
    """(n,) which values belong to the top share; values tied with its lowest one are included.

    If that would be all values (a track that is mostly 0), it is those above the lowest value. Values are finite.
    """
    if not values.size:
        return np.zeros(0, bool)
    threshold, lowest = np.quantile(values, 1 - top), values.min()
    return values >= threshold if threshold > lowest else values > lowest


def average_precision(scores: Floats, peaks: Mask) -> float:
    """Area under the precision-recall curve of finite scores (n,); NaN without a peak.

    It is the mean of the precision at each score that a peak has, weighted by the recall which that score adds. Equal
    scores are therefore counted together.
    """
    if not peaks.any():
        return float("nan")
    thresholds, counts = np.unique(scores[peaks], return_counts=True)
    true_positives = np.cumsum(counts[::-1])[::-1]
    positives = scores.size - np.searchsorted(np.sort(scores), thresholds)
    return float(counts @ (true_positives / positives) / true_positives[0])


def auroc(scores: Floats, peaks: Mask) -> float:
    """Probability that a bin in a peak scores higher than a bin outside, ties counting half; NaN without either."""
    outside, inside = np.sort(scores[~peaks]), scores[peaks]
    if not outside.size or not inside.size:
        return float("nan")
    below = [np.searchsorted(outside, inside, side).sum() for side in ("left", "right")]
    return float(sum(below) / 2 / (inside.size * outside.size))


def track_metrics(predicted: Sequence[ArrayLike], observed: Sequence[ArrayLike]) -> TrackMetrics:
    """All metrics of one track; each side has one array of bins per window."""
    one = np.concatenate([np.asarray(values, np.float64) for values in predicted])
    other = np.concatenate([np.asarray(values, np.float64) for values in observed])
    used = int((np.isfinite(one) & np.isfinite(other)).sum())
    return TrackMetrics(
        pearson(one, other),
        spearman(one, other),
        log1p_pearson(one, other),
        auprc(one, other),
        window_pearson(predicted, observed),
        used,
        one.size - used,
    )


def window_pearson(predicted: Sequence[ArrayLike], observed: Sequence[ArrayLike]) -> float:
    """Mean of the Pearson r within each window; windows in which one side is constant are left out."""
    each = [pearson(one, other) for one, other in zip(predicted, observed, strict=True)]
    defined = [r for r in each if np.isfinite(r)]
    return float(np.mean(defined)) if defined else float("nan")


def as_lists(tracks: Sequence[TrackMetrics]) -> dict[str, Any]:
    """A model card's metrics of one fold: for each metric a list with one number per track, and `mean` over tracks.

    An undefined metric is None.
    """
    rows = [asdict(track) for track in tracks]
    lists: dict[str, Any] = {name: [_json(row[name]) for row in rows] for name in (*NAMES, "bins", "left_out")}
    lists["mean"] = {name: _json(_mean([row[name] for row in rows])) for name in NAMES}
    return lists


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _json(value: float) -> float | int | None:
    """None for NaN, which JSON lacks, and at most six digits, which is more than any metric is exact to."""
    if isinstance(value, int):
        return value
    return round(value, 6) if np.isfinite(value) else None
