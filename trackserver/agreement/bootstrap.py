"""Confidence intervals of agreement figures, by a bootstrap of whole windows.

Neighbouring bins are alike, so each draw samples windows instead of bins: as many windows as there are, with
replacement. A figure of a draw is computed with each bin weighted by how often its window was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.metrics import Floats, Mask
from trackserver.compiled import compiled

DRAWS, SEED = 200, 1
LEVEL = 0.95  # share of the draws inside an interval
MAX_RANKED_BINS = 1_000_000  # per draw; of more bins, only every second, third and so on is ranked

Integers = NDArray[np.int64]


def draws(n_windows: int) -> Integers:
    """(DRAWS, windows) how often each window is drawn; every call gives the same."""
    even = np.full(n_windows, 1 / n_windows)
    return np.random.default_rng(SEED).multinomial(n_windows, even, DRAWS)


def interval(drawn: Floats) -> tuple[float, float] | None:
    """95 % bootstrap interval of a figure's draws (DRAWS,); None if any draw is undefined."""
    if not np.isfinite(drawn).all():
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def pearsons(one: Floats, other: Floats, windows: Integers, counts: Integers) -> Floats:
    """(DRAWS,) Pearson r for each row of `draws`, given bins (n,) and their windows (n,), numbered from 0."""
    one, other = one - one.mean(), other - other.mean()
    sums = np.stack([np.bincount(windows, product, counts.shape[1]) for product in _products(one, other)])
    n, x, y, xx, yy, xy = sums @ counts.T
    x, y = x / n, y / n
    covariances, variances_one, variances_other = xy / n - x * y, xx / n - x * x, yy / n - y * y
    # If a side is constant in a draw, rounding leaves a tiny variance: compare it with that of all bins.
    defined = (variances_one > 1e-12 * one.var()) & (variances_other > 1e-12 * other.var())
    r = covariances / np.sqrt(np.where(defined, variances_one * variances_other, 1))
    return np.where(defined, np.clip(r, -1, 1), np.nan)


def _products(one: Floats, other: Floats) -> Iterator[Floats | None]:
    """The arrays to sum, one at a time, because they may be as long as a genome; None counts the bins."""
    yield from (None, one, other)
    for left, right in ((one, one), (other, other), (one, other)):
        yield left * right


def means(figures: Floats, counts: Integers) -> Floats:
    """(DRAWS,) mean of a figure over the windows (windows,) that have one."""
    known = np.isfinite(figures)
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[:, known] @ figures[known] / counts[:, known].sum(axis=1))


def rank_figures(
    predicted: Floats, observed: Floats, peaks: Mask, windows: Integers, counts: Integers
) -> tuple[Floats, Floats, Floats]:
    """Spearman rho, AUROC and AUPRC of bins (n,) in each draw, (DRAWS,) each; NaN if undefined in a draw.

    Bins are ranked anew in each draw, but the peaks stay the same. More than `MAX_RANKED_BINS` bins are thinned
    evenly, which makes intervals a little wider.
    """
    every_nth = slice(None, None, -(-len(windows) // MAX_RANKED_BINS))
    predicted, observed, windows = predicted[every_nth], observed[every_nth], windows[every_nth]
    (values_one, one), (values_other, other) = (np.unique(side, return_inverse=True) for side in (predicted, observed))
    figures = np.empty((3, len(counts)))
    peaks = np.ascontiguousarray(peaks[every_nth])  # otherwise the loops are compiled again for strided arrays
    windows = np.ascontiguousarray(windows)
    _draw_rank_figures(one, len(values_one), other, len(values_other), peaks, windows, counts, figures)
    return figures[0], figures[1], figures[2]


@compiled
def _areas(bins_at: Floats, peaks_at: Floats) -> tuple[float, float]:
    """AUROC and AUPRC from the number of bins and of peaks at each distinct predicted value."""
    n_bins, n_peaks = bins_at.sum(), peaks_at.sum()
    positives = true_positives = ordered_pairs = area = 0.0
    for value in range(len(bins_at) - 1, -1, -1):
        ordered_pairs += (bins_at[value] - peaks_at[value]) * (true_positives + peaks_at[value] / 2)
        positives += bins_at[value]
        true_positives += peaks_at[value]
        if peaks_at[value] > 0:
            area += peaks_at[value] * true_positives / positives
    n_pairs = n_peaks * (n_bins - n_peaks)
    return ordered_pairs / n_pairs if n_pairs > 0 else np.nan, area / n_peaks if n_peaks > 0 else np.nan


@compiled
def _to_ranks(bins_at: Floats) -> None:
    """Replace the number of bins at each distinct value by their mean rank minus a half, in place."""
    below = 0.0
    for value in range(len(bins_at)):
        n_bins = bins_at[value]
        bins_at[value] = below + n_bins / 2
        below += n_bins


@compiled
def _draw_rank_figures(
    one: Integers, n_one: int, other: Integers, n_other: int, peaks: Mask, windows: Integers, counts: Integers,
    out: Floats,
) -> None:  # fmt: skip
    """Fill `out` (3, draws); `one` and `other` (n,) number each side's distinct values in ascending order."""
    for draw in range(counts.shape[0]):
        one_at, other_at, peaks_at = np.zeros(n_one), np.zeros(n_other), np.zeros(n_one)
        for i in range(one.shape[0]):
            weight = counts[draw, windows[i]]
            one_at[one[i]] += weight
            other_at[other[i]] += weight
            if peaks[i]:
                peaks_at[one[i]] += weight
        out[1, draw], out[2, draw] = _areas(one_at, peaks_at)
        total = one_at.sum()
        _to_ranks(one_at)
        _to_ranks(other_at)
        squares_one = squares_other = products = 0.0
        for i in range(one.shape[0]):
            weight = counts[draw, windows[i]]
            from_mean, other_from_mean = one_at[one[i]] - total / 2, other_at[other[i]] - total / 2
            squares_one += weight * from_mean**2
            squares_other += weight * other_from_mean**2
            products += weight * from_mean * other_from_mean
        squares = squares_one * squares_other
        out[0, draw] = products / np.sqrt(squares) if squares > 0 else np.nan


def warm_up() -> None:
    """Compile the loops, or load them from the cache; see `compiled`."""
    bins = np.arange(2.0)
    rank_figures(bins, bins, bins > 0, np.zeros(2, np.int64), np.ones((1, 1), np.int64))
