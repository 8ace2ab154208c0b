"""Figures of agreement between a predicted and an observed track, with notes on those that are missing.

Works on arrays only: `metrics` computes the figures, and `bootstrap` their intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement import bootstrap, metrics
from trackserver.agreement.metrics import TOP, Floats, Mask

MIN_BINS = 10  # for a figure, in total and in a window
MIN_WINDOWS = 8  # for an interval
WINDOWS, MAX_WINDOW_BP = 20, 131_072  # a comparison has at least so many windows, none wider than models read
FIGURES = ("pearson", "spearman", "pearson_log1p", "window_mean", "auroc", "auprc")
SIZE_FIGURES = ("pearson", "pearson_log1p", "window_mean")  # depend on the size of values, not only on their order


@dataclass(frozen=True, eq=False)
class Bins:
    """The same bins of two tracks, in order.

    predicted, observed : float64 (n,), NaN if a track has no value
    windows : int32 (n,), ascending, the number of each bin's window
    peaks : bool (n,), which bins are peaks; None without called peaks
    bin_width, window : bp
    left_out : number of further bins in which one track or both have no value
    """

    predicted: Floats
    observed: Floats
    windows: NDArray[np.int32]
    bin_width: int
    window: int
    peaks: Mask | None = None
    left_out: int = 0

    def known(self) -> Bins:
        """The bins in which both tracks have a value."""
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
    """Figures of agreement over bins; an undefined figure is None, and `notes` explains why.

    pearson, spearman, pearson_log1p : r, rho, and r of log(1 + y), values below 0 counting as 0
    window_mean : mean of the Pearson r within each window
    auroc, auprc : with the predicted values as scores of the peaks; by chance .5 and `prevalence`
    top : the share of bins, with the highest observed values, that are taken as peaks; None if peaks were given
    prevalence : the share of bins that are peaks; above `top` if values are tied
    n_bins, n_left_out : bins compared, and bins in which one track or both have no value
    n_windows : windows with at least one compared bin
    bin_width, window : bp
    interval : 95 % bootstrap interval of each figure that has one
    notes : sentences for people
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
    notes: tuple[str, ...]


def agreement(bins: Bins) -> Agreement:
    """Compute the figures of bins; bins in which a track has no value are left out and counted.

    Without called peaks, the top 5 % of the observed bins are the peaks (`metrics.top_share`).
    """
    known = bins.known()
    enough = len(known.predicted) >= MIN_BINS
    peaks = metrics.top_share(known.observed) if known.peaks is None else known.peaks
    window_r = _window_pearsons(known)
    n_windows = len(window_r)
    figures = _figures(known, peaks, window_r) if enough else dict.fromkeys(FIGURES)
    interval = _intervals(known, peaks, window_r, figures) if enough and n_windows >= MIN_WINDOWS else {}
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
        notes=tuple(_notes(known, peaks, n_windows, figures, interval)),
    )


def rank_figures_only(result: Agreement, note: str) -> Agreement:
    """The same without the figures that depend on the size of values, and with a note that says why."""
    interval = {figure: ends for figure, ends in result.interval.items() if figure not in SIZE_FIGURES}
    return replace(
        result, pearson=None, pearson_log1p=None, window_mean=None, interval=interval, notes=(note, *result.notes)
    )


def join_bins(parts: Sequence[Bins]) -> Bins:
    """Join the bins of several stretches; no window spans two of them."""
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


def bins_per_window(n_bins: int, bin_width: int) -> int:
    """Bins in a window if `n_bins` are compared in all."""
    return max(min(n_bins // WINDOWS, MAX_WINDOW_BP // bin_width), MIN_BINS)


def _window_pearsons(bins: Bins) -> Floats:
    """(windows,) Pearson r within each window that has a bin; NaN with too few bins or if one side is constant."""
    if not len(bins.windows):
        return np.empty(0)
    edges = [0, *(np.flatnonzero(np.diff(bins.windows)) + 1).tolist(), len(bins.windows)]
    return np.array([
        metrics.pearson(bins.predicted[start:end], bins.observed[start:end]) if end - start >= MIN_BINS else np.nan
        for start, end in pairwise(edges)
    ])  # fmt: skip


def _figures(bins: Bins, peaks: Mask, window_r: Floats) -> dict[str, float | None]:
    predicted, observed = bins.predicted, bins.observed
    defined = np.isfinite(window_r)
    values = {
        "pearson": metrics.pearson(predicted, observed),
        "spearman": metrics.spearman(predicted, observed),
        "pearson_log1p": metrics.log1p_pearson(predicted, observed),
        "window_mean": float(window_r[defined].mean()) if defined.any() else np.nan,
        "auroc": metrics.auroc(predicted, peaks),
        "auprc": metrics.average_precision(predicted, peaks),
    }
    return {figure: value if np.isfinite(value) else None for figure, value in values.items()}


def _intervals(
    bins: Bins, peaks: Mask, window_r: Floats, figures: dict[str, float | None]
) -> dict[str, tuple[float, float]]:
    """The interval of each figure that is defined for the bins and in every draw."""
    predicted, observed = bins.predicted, bins.observed
    windows = np.cumsum(np.diff(bins.windows, prepend=bins.windows[0]) > 0, dtype=np.int64)  # without empty windows
    counts = bootstrap.draws(len(window_r))
    rho, auroc, auprc = bootstrap.rank_figures(predicted, observed, peaks, windows, counts)
    drawn = {
        "pearson": bootstrap.pearsons(predicted, observed, windows, counts),
        "spearman": rho,
        "pearson_log1p": bootstrap.pearsons(_log1p(predicted), _log1p(observed), windows, counts),
        "window_mean": bootstrap.means(window_r, counts),
        "auroc": auroc,
        "auprc": auprc,
    }
    intervals = {figure: bootstrap.interval(drawn[figure]) for figure in FIGURES if figures[figure] is not None}
    return {figure: ends for figure, ends in intervals.items() if ends}


def _log1p(values: Floats) -> Floats:
    return np.asarray(np.log1p(np.maximum(values, 0)))


def _notes(
    bins: Bins,
    peaks: Mask,
    n_windows: int,
    figures: dict[str, float | None],
    interval: dict[str, tuple[float, float]],
) -> Iterator[str]:
    """Sentences that say why figures or intervals are missing."""
    n_bins = len(bins.predicted)
    if n_bins < MIN_BINS:
        yield f"Both tracks have a value in {n_bins} bins of {bins.bin_width:,} bp; figures need at least {MIN_BINS}."
        return
    for name, side in (("predicted", bins.predicted), ("measured", bins.observed)):
        if np.ptp(side) == 0:
            yield f"The {name} track is {side[0]:g} in all {n_bins:,} bins, so there is no correlation."
    if figures["pearson"] is not None and figures["window_mean"] is None:
        yield f"No window of {bins.window:,} bp has {MIN_BINS} bins in which both tracks vary, so they have no mean."
    if bins.peaks is not None and not peaks.any():
        yield f"None of the {n_bins:,} bins is more than half in a peak; try another locus or narrower bins."
    if peaks.all():
        yield f"All {n_bins:,} bins are in peaks, so there are none to distinguish them from."
    if n_windows < MIN_WINDOWS:
        yield f"Too few windows for intervals: {n_windows} of {bins.window:,} bp; they need at least {MIN_WINDOWS}."
    elif missing := [figure for figure in FIGURES if figures[figure] is not None and figure not in interval]:
        yield f"No interval for {', '.join(missing)}, because too few windows have the bins it depends on."
