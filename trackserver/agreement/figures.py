"""How well a predicted track agrees with a measured one, bin by bin: the figures, and why some are missing.

The figures are those of `predict.metrics`, the intervals those of `resampling`. Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement import bootstrap, metrics
from trackserver.agreement.metrics import TOP, Floats, Mask

FEWEST = 10  # bins of which a figure is given, as a whole and in a window
FEWEST_WINDOWS = 8  # of which an interval is given
PARTS, WIDEST = 20, 131_072  # windows are a twentieth of what is compared, but not wider than models read: bp
FIGURES = ("pearson", "spearman", "pearson_log1p", "window_mean", "auroc", "auprc")
OF_SIZES = ("pearson", "pearson_log1p", "window_mean")  # for which it counts how large values are, not only their order


@dataclass(frozen=True, eq=False)
class Bins:
    """The same bins of two tracks, in order.

    predicted, observed : float64 (n,), NaN where a track has no value
    windows : int32 (n,), ascending, the number of the window that each lies in
    peaks : bool (n,), which of them are peaks; None where nobody has called any
    bin_width, window : bp
    left_out : how many there were besides, of which one track or both have no value
    """

    predicted: Floats
    observed: Floats
    windows: NDArray[np.int32]
    bin_width: int
    window: int
    peaks: Mask | None = None
    left_out: int = 0

    def known(self) -> Bins:
        """Those in which both tracks have a value."""
        both = np.isfinite(self.predicted) & np.isfinite(self.observed)
        if both.all():
            return self
        return replace(
            self,
            predicted=self.predicted[both],
            observed=self.observed[both],
            windows=self.windows[both],
            peaks=None if self.peaks is None else self.peaks[both],
            left_out=self.left_out + int(both.size - both.sum()),
        )


@dataclass(frozen=True)
class Agreement:
    """Figures of agreement over bins; what is not defined is None, and `said` says why.

    pearson, spearman, pearson_log1p : r, rho, and r of log(1 + y), values below 0 counting as 0
    window_mean : mean of the Pearson r within each window
    auroc, auprc : of the predicted values as scores of the peaks; by chance .5 and `prevalence`
    top : the share of bins with the highest measured values that are the peaks; None where peaks were given
    prevalence : the share of bins that are peaks; it is above `top` where values are tied
    n_bins, n_left_out : bins compared, and those in which one track or both have no value
    n_windows : windows with a bin that is compared
    bin_width, window : bp
    interval : of each figure that has one, between which 95 % of 200 draws of the windows lie
    said : sentences for people
    """

    pearson: float | None
    spearman: float | None
    pearson_log1p: float | None
    window_mean: float | None
    auroc: float | None
    auprc: float | None
    top: float | None
    prevalence: float | None
    n_bins: int
    n_left_out: int
    n_windows: int
    bin_width: int
    window: int
    interval: dict[str, tuple[float, float]]
    said: tuple[str, ...]


def agreement(bins: Bins) -> Agreement:
    """The figures of some bins; those in which a track has no value are left out and counted.

    Without peaks, they are the top 5 % of the measured bins (`metrics.top_share`).
    """
    known = bins.known()
    enough = len(known.predicted) >= FEWEST
    peaks = metrics.top_share(known.observed) if known.peaks is None else known.peaks
    each = _by_window(known)
    n_windows = len(each)
    figures = _figures(known, peaks, each) if enough else dict.fromkeys(FIGURES)
    interval = _intervals(known, peaks, each, figures) if enough and n_windows >= FEWEST_WINDOWS else {}
    return Agreement(
        **figures,
        top=TOP if bins.peaks is None else None,
        prevalence=float(peaks.mean()) if enough else None,
        n_bins=len(known.predicted),
        n_left_out=known.left_out,
        n_windows=n_windows,
        bin_width=bins.bin_width,
        window=bins.window,
        interval=interval,
        said=tuple(_unsaid(known, peaks, n_windows, figures, interval)),
    )


def by_order_only(found: Agreement, why: str) -> Agreement:
    """The same without the figures for which it counts how large values are, and a sentence on why."""
    interval = {figure: between for figure, between in found.interval.items() if figure not in OF_SIZES}
    return replace(
        found, pearson=None, pearson_log1p=None, window_mean=None, interval=interval, said=(why, *found.said)
    )


def joined(parts: Sequence[Bins]) -> Bins:
    """The bins of several stretches, one after the other, each with windows of its own."""
    first = parts[0]
    counts = np.cumsum([0, *(int(part.windows[-1]) + 1 if len(part.windows) else 0 for part in parts)])
    windows = [part.windows + np.int32(before) for part, before in zip(parts, counts, strict=False)]
    return replace(
        first,
        predicted=np.concatenate([part.predicted for part in parts]),
        observed=np.concatenate([part.observed for part in parts]),
        windows=np.concatenate(windows),
        peaks=None if first.peaks is None else np.concatenate([part.peaks for part in parts if part.peaks is not None]),
        left_out=sum(part.left_out for part in parts),
    )


def bins_a_window(n_bins: int, bin_width: int) -> int:
    """How many bins make a window where so many are compared."""
    return max(min(n_bins // PARTS, WIDEST // bin_width), FEWEST)


def _by_window(bins: Bins) -> Floats:
    """(windows,) Pearson r within each window that has a bin; NaN where it has too few, or one side is constant."""
    if not len(bins.windows):
        return np.empty(0)
    edges = [0, *(np.flatnonzero(np.diff(bins.windows)) + 1).tolist(), len(bins.windows)]
    return np.array([
        metrics.pearson(bins.predicted[start:end], bins.observed[start:end]) if end - start >= FEWEST else np.nan
        for start, end in pairwise(edges)
    ])  # fmt: skip


def _figures(bins: Bins, peaks: Mask, each: Floats) -> dict[str, float | None]:
    one, other = bins.predicted, bins.observed
    found = {
        "pearson": metrics.pearson(one, other),
        "spearman": metrics.spearman(one, other),
        "pearson_log1p": metrics.log1p_pearson(one, other),
        "window_mean": float(each[np.isfinite(each)].mean()) if np.isfinite(each).any() else np.nan,
        "auroc": metrics.auroc(one, peaks),
        "auprc": metrics.average_precision(one, peaks),
    }
    return {figure: value if np.isfinite(value) else None for figure, value in found.items()}


def _intervals(
    bins: Bins, peaks: Mask, each: Floats, figures: dict[str, float | None]
) -> dict[str, tuple[float, float]]:
    """Of the figures that are defined, those that are so in every draw too."""
    one, other = bins.predicted, bins.observed
    windows = np.cumsum(np.diff(bins.windows, prepend=bins.windows[0]) > 0, dtype=np.int64)  # those that have a bin
    counts = bootstrap.draws(len(each))
    rho, area, precision = bootstrap.by_rank(one, other, peaks, windows, counts)
    drawn = {
        "pearson": bootstrap.pearsons(one, other, windows, counts),
        "spearman": rho,
        "pearson_log1p": bootstrap.pearsons(_log1p(one), _log1p(other), windows, counts),
        "window_mean": bootstrap.means(each, counts),
        "auroc": area,
        "auprc": precision,
    }
    found = {figure: bootstrap.interval(drawn[figure]) for figure in FIGURES if figures[figure] is not None}
    return {figure: between for figure, between in found.items() if between}


def _log1p(values: Floats) -> Floats:
    return np.asarray(np.log1p(np.maximum(values, 0)))


def _unsaid(
    bins: Bins,
    peaks: Mask,
    n_windows: int,
    figures: dict[str, float | None],
    interval: dict[str, tuple[float, float]],
) -> Iterator[str]:
    """Why figures or intervals are missing."""
    n_bins = len(bins.predicted)
    if n_bins < FEWEST:
        yield f"Bins of {bins.bin_width:,} bp in which both tracks have a value: {n_bins}; it takes {FEWEST}."
        return
    for name, side in (("predicted", bins.predicted), ("measured", bins.observed)):
        if np.ptp(side) == 0:
            yield f"The {name} track is {side[0]:g} in all {n_bins:,} bins, so it correlates with nothing."
    if figures["pearson"] is not None and figures["window_mean"] is None:
        yield f"No window of {bins.window:,} bp has {FEWEST} bins in which both tracks vary: there is no mean of them."
    if bins.peaks is not None and not peaks.any():
        yield f"None of the {n_bins:,} bins lies in a peak by more than half; look elsewhere, or choose narrower bins."
    if peaks.all():
        yield f"All {n_bins:,} bins lie in peaks, so there is nothing to tell them from."
    if n_windows < FEWEST_WINDOWS:
        yield f"Too few windows for intervals: {n_windows} of {bins.window:,} bp, and it takes {FEWEST_WINDOWS}."
    elif missing := [figure for figure in FIGURES if figures[figure] is not None and figure not in interval]:
        yield f"No interval of {', '.join(missing)}: too few windows hold what it depends on."
