"""How far figures of agreement would differ on other windows: a bootstrap of whole windows.

Neighbouring bins are alike, so windows are drawn, not bins: as many as there are, with replacement. A draw weighs each
bin by how often its window was drawn, and every figure is that of the bins so repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.metrics import Floats, Mask
from trackserver.compiled import compiled

DRAWS, SEED = 200, 1
LEVEL = 0.95  # of the draws lie in an interval
MOST_RANKED = 1_000_000  # bins that are ranked in each draw; of more, every second, third and so on

Integers = NDArray[np.int64]


def draws(n_windows: int) -> Integers:
    """(DRAWS, windows) how often each window is drawn; the same at every call."""
    even = np.full(n_windows, 1 / n_windows)
    return np.random.default_rng(SEED).multinomial(n_windows, even, DRAWS)


def interval(drawn: Floats) -> tuple[float, float] | None:
    """Between which a figure's draws (DRAWS,) lie, but for the outermost; None unless all of them are defined."""
    if not np.isfinite(drawn).all():
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def pearsons(one: Floats, other: Floats, windows: Integers, counts: Integers) -> Floats:
    """(DRAWS,) Pearson r of bins (n,) in windows (n,) numbered from 0 on, for each row of `draws`."""
    one, other = one - one.mean(), other - other.mean()
    sums = np.stack([np.bincount(windows, product, counts.shape[1]) for product in _products(one, other)])
    n, x, y, xx, yy, xy = sums @ counts.T
    x, y = x / n, y / n
    covariances, of_one, of_other = xy / n - x * y, xx / n - x * x, yy / n - y * y
    # What is left of the variance of a side that is constant in a draw is rounding beside that of all bins.
    known = (of_one > 1e-12 * one.var()) & (of_other > 1e-12 * other.var())
    r = covariances / np.sqrt(np.where(known, of_one * of_other, 1))
    return np.where(known, np.clip(r, -1, 1), np.nan)


def _products(one: Floats, other: Floats) -> Iterator[Floats | None]:
    """What is summed up, one at a time, for they are as long as a genome; None counts."""
    yield from (None, one, other)
    for left, right in ((one, one), (other, other), (one, other)):
        yield left * right


def means(each: Floats, counts: Integers) -> Floats:
    """(DRAWS,) mean of the windows' own figures (windows,), of those that have one."""
    known = np.isfinite(each)
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[:, known] @ each[known] / counts[:, known].sum(axis=1))


def by_rank(
    predicted: Floats, observed: Floats, peaks: Mask, windows: Integers, counts: Integers
) -> tuple[Floats, Floats, Floats]:
    """(DRAWS,) each: Spearman rho, AUROC and AUPRC of bins (n,), NaN where a draw has none.

    Ranks are those within each draw; which bins are peaks is not drawn anew. Of more than `MOST_RANKED` bins an even
    part is drawn from, which makes intervals a little wider.
    """
    some = slice(None, None, -(-len(windows) // MOST_RANKED))
    predicted, observed, windows = predicted[some], observed[some], windows[some]
    (of_one, one), (of_other, other) = (np.unique(side, return_inverse=True) for side in (predicted, observed))
    found = np.empty((3, len(counts)))
    peaks = np.ascontiguousarray(peaks[some])  # the loops would be compiled anew for strides
    _draw_by_rank(one, len(of_one), other, len(of_other), peaks, np.ascontiguousarray(windows), counts, found)
    return found[0], found[1], found[2]


@compiled
def _areas(bins_at: Floats, peaks_at: Floats) -> tuple[float, float]:
    """AUROC and AUPRC from how many bins, and how many peaks among them, each distinct prediction has."""
    n_bins, n_peaks = bins_at.sum(), peaks_at.sum()
    called = found = pairs = area = 0.0
    for value in range(len(bins_at) - 1, -1, -1):
        pairs += (bins_at[value] - peaks_at[value]) * (found + peaks_at[value] / 2)
        called += bins_at[value]
        found += peaks_at[value]
        if peaks_at[value] > 0:
            area += peaks_at[value] * found / called
    both = n_peaks * (n_bins - n_peaks)
    return pairs / both if both > 0 else np.nan, area / n_peaks if n_peaks > 0 else np.nan


@compiled
def _to_ranks(at: Floats) -> None:
    """In place, from how many bins each distinct value has to their mean rank less a half."""
    below = 0.0
    for value in range(len(at)):
        here = at[value]
        at[value] = below + here / 2
        below += here


@compiled
def _draw_by_rank(
    one: Integers, n_one: int, other: Integers, n_other: int, peaks: Mask, windows: Integers, counts: Integers,
    out: Floats,
) -> None:  # fmt: skip
    """Fill (3, draws); `one` and `other` (n,) number each side's distinct values, from the least on."""
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
    """Compile the loops, or load them where that was done before; see `tiles.kernels`."""
    bins = np.arange(2.0)
    by_rank(bins, bins, bins > 0, np.zeros(2, np.int64), np.ones((1, 1), np.int64))
