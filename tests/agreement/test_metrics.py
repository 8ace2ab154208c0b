from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.tolerance import STORED
from trackserver.agreement import metrics

RANDOM = np.random.default_rng(0)
OBSERVED = RANDOM.gamma(0.3, 2.0, 500)
PREDICTED = OBSERVED * RANDOM.gamma(2.0, 0.5, 500) + 0.1
TIED = np.round(OBSERVED)

small = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (float(pair[0]), float(pair[1]))),
    min_size=3,
    max_size=40,
)


def slow_auprc(scores: np.ndarray, peaks: np.ndarray) -> float:
    """Average precision by its definition: a precision for each threshold, weighed by the recall it adds."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        found = (called & peaks).sum() / peaks.sum()
        area += (found - recall) * (called & peaks).sum() / called.sum()
        recall = found
    return area


@pytest.mark.parametrize("observed", [OBSERVED, TIED, -OBSERVED])
def test_correlations_are_scipys(observed: np.ndarray) -> None:
    assert metrics.pearson(PREDICTED, observed) == pytest.approx(stats.pearsonr(PREDICTED, observed)[0])
    assert metrics.spearman(PREDICTED, observed) == pytest.approx(stats.spearmanr(PREDICTED, observed)[0])


def test_log1p_pearson_is_pearson_of_logs() -> None:
    expected = stats.pearsonr(np.log1p(PREDICTED), np.log1p(OBSERVED))[0]
    assert metrics.log1p_pearson(PREDICTED, OBSERVED) == pytest.approx(expected)
    assert math.isfinite(metrics.log1p_pearson(PREDICTED - 5, OBSERVED))


@given(small)
def test_spearman_shares_ranks_among_ties(pairs: list[tuple[float, float]]) -> None:
    one, other = map(np.array, zip(*pairs, strict=True))
    if np.ptp(one) and np.ptp(other):
        assert metrics.spearman(one, other) == pytest.approx(stats.spearmanr(one, other)[0], abs=1e-9)
    else:
        assert math.isnan(metrics.spearman(one, other))


@given(small)
def test_auprc_is_its_definition(pairs: list[tuple[float, float]]) -> None:
    scores, values = map(np.array, zip(*pairs, strict=True))
    if not np.ptp(values):
        assert math.isnan(metrics.auprc(scores, values))
        return
    threshold = np.quantile(values, 0.95)
    peaks = values >= threshold if threshold > values.min() else values > values.min()
    assert metrics.auprc(scores, values) == pytest.approx(slow_auprc(scores, peaks))


def test_auprc_takes_the_top_twentieth() -> None:
    values = np.arange(100.0)
    assert metrics.auprc(values, values) == pytest.approx(1)
    assert metrics.auprc(-values, values) == pytest.approx(sum(i / (95 + i) for i in range(1, 6)) / 5)
    assert metrics.auprc(np.zeros(100), values) == pytest.approx(0.05)


@given(small, st.data())
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[float, float]], data: st.DataObject) -> None:
    scores = np.array([score for score, _ in pairs])
    peaks = np.array(data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs))))
    above = scores[peaks][:, None] - scores[~peaks][None, :]
    expected = ((above > 0) + (above == 0) / 2).mean() if above.size else np.nan
    assert metrics.auroc(scores, peaks) == pytest.approx(expected, nan_ok=True)


def test_what_is_not_known_is_left_out_and_counted() -> None:
    predicted, observed = [PREDICTED[:250].copy(), PREDICTED[250:].copy()], [OBSERVED[:250].copy(), OBSERVED[250:]]
    predicted[0][3], observed[0][[7, 8]] = np.nan, np.nan
    found = metrics.track_metrics(predicted, observed)
    known = np.setdiff1d(np.arange(500), [3, 7, 8])
    assert (found.bins, found.left_out) == (497, 3)
    assert found.pearson == pytest.approx(metrics.pearson(PREDICTED[known], OBSERVED[known]))
    assert found.auprc == pytest.approx(metrics.auprc(PREDICTED[known], OBSERVED[known]))


def test_window_pearson_is_the_mean_over_windows_that_have_one() -> None:
    predicted = [PREDICTED[:100], PREDICTED[100:200], np.ones(10), np.array([1.0])]
    observed = [OBSERVED[:100], OBSERVED[100:200], np.arange(10.0), np.array([2.0])]
    expected = [stats.pearsonr(PREDICTED[i : i + 100], OBSERVED[i : i + 100])[0] for i in (0, 100)]
    assert metrics.window_pearson(predicted, observed) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("values", [[], [1.0], [0.1] * 9, [np.nan] * 5])
def test_the_undefined_is_nan_without_a_warning(values: list[float]) -> None:
    found = metrics.track_metrics([values], [values])
    assert all(math.isnan(getattr(found, name)) for name in metrics.NAMES)


def test_lists_are_strict_json() -> None:
    good, none = metrics.track_metrics([PREDICTED], [OBSERVED]), metrics.track_metrics([[1.0]], [[1.0]])
    lists = metrics.as_lists([good, none])
    assert json.loads(json.dumps(lists, allow_nan=False)) == lists
    assert lists["pearson"] == [pytest.approx(good.pearson, abs=STORED), None]
    assert lists["mean"]["pearson"] == pytest.approx(good.pearson, abs=STORED)
    assert lists["bins"] == [500, 1]
    assert metrics.as_lists([none])["mean"]["auprc"] is None
