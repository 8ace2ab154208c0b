"""How well predicted and observed bins agree. numpy only; a number that is not defined is NaN.

Every function leaves out the bins in which either side is NaN (uncovered, or not predicted); `agreement` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Which bins count as peaks where nobody has called any: the field's usual part of the genome for open chromatin.
TOP = 0.05


@dataclass(frozen=True)
class Agreement:
    """One track's agreement over many bins; `window_pearson` is the mean of the windows' own Pearson r."""

    pearson: float
    spearman: float
    log1p_pearson: float
    auprc: float
    window_pearson: float
    bins: int
    left_out: int


NAMES = ("pearson", "spearman", "log1p_pearson", "auprc", "window_pearson")


def paired(predicted: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    """The two as flat float64 arrays, without the bins in which either is not finite."""
    one, other = np.asarray(predicted, np.float64).ravel(), np.asarray(observed, np.float64).ravel()
    known = np.isfinite(one) & np.isfinite(other)
    return (one, other) if known.all() else (one[known], other[known])


def pearson(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Pearson r; NaN with fewer than two bins or where one side is constant."""
    return _correlation(*paired(predicted, observed))


def _correlation(one: Floats, other: Floats) -> float:
    # A constant's mean is off by rounding, so its variance may be tiny instead of zero: ask for the range.
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    r = one @ other / np.sqrt((one @ one) * (other @ other))
    return float(np.clip(r, -1.0, 1.0))


def spearman(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Spearman rho: Pearson r of the ranks, ties sharing their mean rank."""
    one, other = paired(predicted, observed)
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
    """Pearson r of log(1 + y), which one large peak cannot decide; values below 0 count as 0."""
    one, other = paired(predicted, observed)
    return _correlation(np.log1p(np.maximum(one, 0)), np.log1p(np.maximum(other, 0)))


def auprc(predicted: ArrayLike, observed: ArrayLike, top: float = TOP) -> float:
    """Area under the precision-recall curve, the peaks being the top part of the observed bins; see `top_share`.

    By chance it is about `top`; NaN where all bins are equal.
    """
    scores, values = paired(predicted, observed)
    return average_precision(scores, top_share(values, top))


def top_share(values: Floats, top: float = TOP) -> Mask:
    """(n,) which of some finite values are their top part, all that equal the least of it among them.

    Where ties make that all of them (a track that is mostly 0), it is those above the lowest value.
    """
    if not values.size:
        return np.zeros(0, bool)
    threshold, lowest = np.quantile(values, 1 - top), values.min()
    return values >= threshold if threshold > lowest else values > lowest


def average_precision(scores: Floats, peaks: Mask) -> float:
    """Area under the precision-recall curve of finite scores (n,); NaN without a peak.

    A precision for each score that a peak has, weighed by the recall it adds, so equal scores are counted together.
    """
    if not peaks.any():
        return float("nan")
    thresholds, counts = np.unique(scores[peaks], return_counts=True)
    found = np.cumsum(counts[::-1])[::-1]
    called = scores.size - np.searchsorted(np.sort(scores), thresholds)
    return float(counts @ (found / called) / found[0])


def auroc(scores: Floats, peaks: Mask) -> float:
    """The chance that a bin in a peak scores higher than one that is not, ties counting half; NaN without either."""
    others, wanted = np.sort(scores[~peaks]), scores[peaks]
    if not others.size or not wanted.size:
        return float("nan")
    below = [np.searchsorted(others, wanted, side).sum() for side in ("left", "right")]
    return float(sum(below) / 2 / (wanted.size * others.size))


def agreement(predicted: Sequence[ArrayLike], observed: Sequence[ArrayLike]) -> Agreement:
    """All of them for one track: one array of bins a window on each side."""
    one = np.concatenate([np.asarray(values, np.float64) for values in predicted])
    other = np.concatenate([np.asarray(values, np.float64) for values in observed])
    used = int((np.isfinite(one) & np.isfinite(other)).sum())
    return Agreement(
        pearson(one, other),
        spearman(one, other),
        log1p_pearson(one, other),
        auprc(one, other),
        window_pearson(predicted, observed),
        used,
        one.size - used,
    )


def window_pearson(predicted: Sequence[ArrayLike], observed: Sequence[ArrayLike]) -> float:
    """Mean of the Pearson r of each window; windows in which one side is constant have none and are left out."""
    each = [pearson(one, other) for one, other in zip(predicted, observed, strict=True)]
    defined = [r for r in each if np.isfinite(r)]
    return float(np.mean(defined)) if defined else float("nan")


def as_lists(tracks: Sequence[Agreement]) -> dict[str, Any]:
    """A card's metrics of one fold: a list a metric, a number a track (None where undefined), and `mean` of each."""
    rows = [asdict(track) for track in tracks]
    lists: dict[str, Any] = {name: [_json(row[name]) for row in rows] for name in (*NAMES, "bins", "left_out")}
    lists["mean"] = {name: _json(_mean([row[name] for row in rows])) for name in NAMES}
    return lists


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _json(value: float) -> float | int | None:
    """JSON has no NaN; six digits are more than any metric means."""
    if isinstance(value, int):
        return value
    return round(value, 6) if np.isfinite(value) else None
