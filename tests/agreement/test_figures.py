"""Figures against scipy's and against their definitions; draws against bins that are really repeated."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trackserver.agreement import bootstrap, metrics
from trackserver.agreement.figures import (
    FIGURES,
    Agreement,
    Bins,
    agreement,
    bins_per_window,
    join_bins,
    rank_figures_only,
)

RANDOM = np.random.default_rng(0)
OBSERVED = RANDOM.gamma(0.3, 2.0, 400)
PREDICTED = OBSERVED * RANDOM.gamma(2.0, 0.5, 400) + 0.1

values = st.integers(0, 6).map(float)
pairs = st.lists(st.tuples(values | st.just(np.nan), values, st.booleans()), min_size=10, max_size=80)


def bins(predicted: np.ndarray, observed: np.ndarray, a_window: int = 20, peaks: np.ndarray | None = None) -> Bins:
    return Bins(predicted, observed, np.arange(len(predicted)) // a_window, 128, a_window * 128, peaks)


def slow_auprc(scores: np.ndarray, peaks: np.ndarray) -> float:
    """Average precision by its definition: a precision for each threshold, weighed by the recall it adds."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        found = (called & peaks).sum() / peaks.sum()
        area += (found - recall) * (called & peaks).sum() / called.sum()
        recall = found
    return area


def same(found: float | None, expected: float) -> bool:
    return found is None if np.isnan(expected) else found == pytest.approx(expected, abs=1e-9)


def r(one: np.ndarray, other: np.ndarray) -> float:
    return float(stats.pearsonr(one, other)[0]) if np.ptp(one) and np.ptp(other) else np.nan


def check(found: Agreement, one: np.ndarray, other: np.ndarray, peaks: np.ndarray) -> None:
    """The figures of known bins by scipy and by definition."""
    assert same(found.pearson, r(one, other))
    assert same(found.spearman, r(stats.rankdata(one), stats.rankdata(other)))
    assert same(found.pearson_log1p, r(np.log1p(one), np.log1p(other)))
    assert found.n_bins == len(one)
    assert found.prevalence == pytest.approx(peaks.mean())
    if peaks.any():
        assert found.auprc == pytest.approx(slow_auprc(one, peaks), abs=1e-9)
    if peaks.any() and not peaks.all():
        pairs = stats.mannwhitneyu(one[peaks], one[~peaks], method="asymptotic").statistic
        assert found.auroc == pytest.approx(pairs / (peaks.sum() * (~peaks).sum()), abs=1e-9)
    else:
        assert found.auroc is None


@given(pairs)
def test_figures_are_scipys_whatever_is_tied_or_unknown(drawn: list[tuple[float, float, bool]]) -> None:
    predicted, observed, peaks = map(np.array, zip(*drawn, strict=True))
    found = agreement(bins(predicted, observed, peaks=peaks))
    known = ~np.isnan(predicted)
    assert (found.n_bins, found.n_left_out) == (known.sum(), (~known).sum())
    if known.sum() < 10:
        assert all(getattr(found, figure) is None for figure in FIGURES)
        assert found.notes == (f"Both tracks have a value in {known.sum()} bins of 128 bp; figures need at least 10.",)
        return
    check(found, predicted[known], observed[known], peaks[known])
    json.dumps(asdict(found), allow_nan=False)


def test_without_peaks_they_are_the_top_twentieth() -> None:
    found = agreement(bins(PREDICTED, OBSERVED))
    check(found, PREDICTED, OBSERVED, np.quantile(OBSERVED, 0.95) <= OBSERVED)
    assert (found.top, found.prevalence) == (0.05, 0.05)
    assert found.auprc == pytest.approx(metrics.auprc(PREDICTED, OBSERVED))
    tied = agreement(bins(PREDICTED, np.where(OBSERVED > np.quantile(OBSERVED, 0.98), OBSERVED, 0)))
    assert tied.prevalence == pytest.approx(0.02)


def test_the_mean_over_windows_is_of_those_that_have_an_r() -> None:
    predicted, observed = PREDICTED.copy(), OBSERVED.copy()
    predicted[20:40], observed[40:51] = 1.0, np.nan  # one window constant, one of nine bins
    expected = [r(predicted[i : i + 20], observed[i : i + 20]) for i in range(0, 400, 20) if i not in (20, 40)]
    found = agreement(bins(predicted, observed))
    assert found.window_mean == pytest.approx(np.mean(expected), abs=1e-9)
    assert (found.n_windows, found.window) == (20, 2560)


@pytest.mark.parametrize(
    ("predicted", "observed", "peaks", "missing", "said"),
    [
        (np.full(400, 0.3), OBSERVED, None, {"pearson", "spearman"}, "The predicted track is 0.3 in all 400 bins"),
        (PREDICTED, np.zeros(400), None, {"pearson", "auroc", "auprc"}, "The measured track is 0 in all 400 bins"),
        (PREDICTED, OBSERVED, np.zeros(400, bool), {"auroc", "auprc"}, "None of the 400 bins is more than half in"),
        (PREDICTED, OBSERVED, np.ones(400, bool), {"auroc"}, "All 400 bins are in peaks"),
        (PREDICTED[:9], OBSERVED[:9], None, set(FIGURES), "value in 9 bins of 128 bp; figures need at least 10"),
        (PREDICTED[:9] * np.nan, OBSERVED[:9], None, set(FIGURES), "Both tracks have a value in 0 bins"),
        (PREDICTED[:0], OBSERVED[:0], None, set(FIGURES), "Both tracks have a value in 0 bins"),
        (PREDICTED[:100], OBSERVED[:100], None, set(), "for intervals: 5 of 2,560 bp; they need at least 8"),
        (PREDICTED, OBSERVED, np.arange(400) < 3, set(), "No interval for auroc, auprc, because too few windows"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(
    predicted: np.ndarray, observed: np.ndarray, peaks: np.ndarray | None, missing: set[str], said: str
) -> None:
    found = agreement(bins(predicted, observed, peaks=peaks))
    assert missing <= {figure for figure in FIGURES if getattr(found, figure) is None}
    assert any(said in sentence for sentence in found.notes), found.notes
    assert not missing & found.interval.keys()
    json.dumps(asdict(found), allow_nan=False)


def test_windows_without_an_r_leave_no_mean() -> None:
    found = agreement(bins(PREDICTED, OBSERVED, a_window=5))
    assert found.window_mean is None
    assert found.notes == ("No window of 640 bp has 10 bins in which both tracks vary, so they have no mean.",)


def test_of_probabilities_only_the_order_counts() -> None:
    found = agreement(bins(PREDICTED, OBSERVED))
    kept = rank_figures_only(found, "It predicts probabilities.")
    assert (kept.pearson, kept.pearson_log1p, kept.window_mean) == (None, None, None)
    assert (kept.spearman, kept.auroc, kept.auprc) == (found.spearman, found.auroc, found.auprc)
    assert kept.interval.keys() == {"spearman", "auroc", "auprc"}
    assert kept.notes == ("It predicts probabilities.",)


def test_parts_are_joined_with_windows_of_their_own() -> None:
    whole = bins(PREDICTED, OBSERVED)
    parts = [bins(PREDICTED[a:b], OBSERVED[a:b]).known() for a, b in ((0, 100), (100, 100), (100, 260), (260, 400))]
    assert agreement(join_bins(parts)) == agreement(whole)
    assert join_bins([replace(part, left_out=2) for part in parts]).left_out == 8


@pytest.mark.parametrize(
    ("n_bins", "width", "expected"), [(7813, 128, 390), (24_000_000, 128, 1024), (50, 128, 10), (100, 1 << 20, 10)]
)
def test_windows_are_a_twentieth(n_bins: int, width: int, expected: int) -> None:
    assert bins_per_window(n_bins, width) == expected


# --- Intervals -------------------------------------------------------------------------------------------------------


@given(pairs)
@settings(max_examples=40)
def test_a_draw_is_what_repeated_bins_are(drawn: list[tuple[float, float, bool]]) -> None:
    one, other, peaks = (np.nan_to_num(column) for column in map(np.array, zip(*drawn, strict=True)))
    peaks = peaks.astype(bool)
    windows = np.arange(len(one)) // 5
    counts = bootstrap.draws(int(windows[-1]) + 1)
    rho, area, precision = bootstrap.rank_figures(one, other, peaks, windows, counts)
    rs = bootstrap.pearsons(one, other, windows, counts)
    for draw in range(5):
        repeated = np.repeat(np.arange(len(one)), counts[draw][windows])
        expected = (
            metrics.spearman(one[repeated], other[repeated]),
            metrics.auroc(one[repeated], peaks[repeated]),
            metrics.average_precision(one[repeated], peaks[repeated]),
            metrics.pearson(one[repeated], other[repeated]),
        )
        found = (rho[draw], area[draw], precision[draw], rs[draw])
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_draws_are_of_windows_and_always_the_same() -> None:
    counts = bootstrap.draws(30)
    assert counts.shape == (bootstrap.DRAWS, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert np.array_equal(counts, bootstrap.draws(30))
    assert agreement(bins(PREDICTED, OBSERVED)) == agreement(bins(PREDICTED, OBSERVED))


def test_intervals_hold_the_figures_and_are_wider_where_windows_differ() -> None:
    found = agreement(bins(PREDICTED, OBSERVED))
    assert found.interval.keys() == set(FIGURES)
    for figure, (low, high) in found.interval.items():
        assert low < getattr(found, figure) < high
    worse = PREDICTED.copy()
    worse[200:] = RANDOM.permutation(worse[200:])
    low, high = agreement(bins(worse, OBSERVED)).interval["spearman"]
    assert high - low > np.subtract(*reversed(found.interval["spearman"]))


def test_the_mean_over_windows_is_drawn_over_windows() -> None:
    each = np.array([0.1, 0.5, np.nan])
    assert bootstrap.means(each, np.array([[1, 1, 1], [0, 3, 0], [2, 1, 0]])) == pytest.approx([0.3, 0.5, 0.7 / 3])
    assert np.isnan(bootstrap.means(each, np.array([[0, 0, 3]]))).all()


def test_of_many_bins_some_are_ranked_in_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    every = agreement(bins(PREDICTED, OBSERVED))
    monkeypatch.setattr(bootstrap, "MAX_RANKED_BINS", 250)
    some = agreement(bins(PREDICTED, OBSERVED))
    assert replace(some, interval={}) == replace(every, interval={})
    assert some.interval.keys() == set(FIGURES)
    assert some.interval["pearson"] == every.interval["pearson"]
    assert some.interval["spearman"] == pytest.approx(every.interval["spearman"], abs=0.05)


def test_an_interval_takes_every_draw() -> None:
    assert bootstrap.interval(np.linspace(0, 1, 201)) == pytest.approx((0.025, 0.975))
    assert bootstrap.interval(np.append(np.zeros(199), np.nan)) is None
