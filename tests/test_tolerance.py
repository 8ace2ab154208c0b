"""Tests of the tolerance: how c is measured, what it accepts and what it rejects."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.cone.test_cone import CASES, Case, predictor, window
from tests.tolerance import FLOAT32, FLOAT64, MAX_TOLERANCE, C, assert_close, terms_of, tolerance

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@EACH_CASE
@pytest.mark.sample
@torch.inference_mode()
def test_a_run_is_within_half_of_it_of_float64(case: Case) -> None:
    """Then two runs, each within half the tolerance of float64, are within the tolerance of each other."""
    network = predictor(case)
    one_hot = network.one_hot(np.stack([window(case.window, seed) for seed in range(8)]))
    exact = copy.deepcopy(network.module).double()(one_hot.double())
    actual = network.module(one_hot).double()
    assert_close(actual, exact, network.module, scale=exact.abs().max() / 2)


def test_the_tolerance_grows_with_the_root_of_the_terms_up_to_a_maximum() -> None:
    assert tolerance(100) == pytest.approx(10 * C * FLOAT32)
    assert tolerance(100, FLOAT64) == pytest.approx(10 * C * FLOAT64)
    assert tolerance(10**9) == MAX_TOLERANCE


def test_terms_of_a_network() -> None:
    conv, grouped = nn.Conv1d(4, 8, 5), nn.Conv1d(8, 8, 3, groups=4)
    network = nn.Sequential(conv, nn.BatchNorm1d(8), grouped, nn.Flatten(), nn.Linear(80, 2))
    assert terms_of(network) == 4 * 5 + 2 * 3 + 80
    assert tolerance(network) == tolerance(106)
    with pytest.raises(AssertionError, match="The weights of ReLU are unknown"):
        terms_of(nn.ReLU())


def test_a_difference_beyond_the_tolerance_is_reported_with_its_index() -> None:
    expected = np.linspace(-1, 2, 12).reshape(3, 4)
    found = expected.copy()
    found[1, 2] += 1e-5
    assert_close(expected + 3e-6, expected, 100)  # of a scale of 2
    with pytest.raises(
        AssertionError, match=r"1 of 12 numbers .* At \(1, 2\): .*difference is 1e-05, only 2.38e-06 of .* 2 "
    ):
        assert_close(found, expected, 100)
    with pytest.raises(AssertionError, match="12 of 12 numbers"):
        assert_close(expected + 3e-6, expected, 100, scale=1)
    with pytest.raises(AssertionError, match="2 of 12 numbers"):
        assert_close(found + 3e-6 * (np.arange(12) == 0).reshape(3, 4), expected, 100, scale=np.abs(expected))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (np.full(3, np.nan), "3 of 3 numbers"),
        (np.full(3, np.inf), "3 of 3 numbers"),
        (np.ones((1, 3)), "different shapes"),
        (torch.ones(3), ""),
    ],
)
def test_nan_inf_and_other_shapes_or_types_are_never_close(found: np.ndarray, sentence: str) -> None:
    if not sentence:
        with pytest.raises(AssertionError, match="different types"):
            assert_close(found, torch.ones(3, dtype=torch.float64), 1)
        return
    with pytest.raises(AssertionError, match=sentence):
        assert_close(found, np.ones(3), 1)


def test_gaps_must_be_at_the_same_positions() -> None:
    one, other = np.array([1, np.nan, 2]), np.array([1, 2, 2])
    assert_close(one, one, 1, gaps=True)
    for found, expected in ((one, other), (other, one), (np.full(3, np.nan), other)):
        with pytest.raises(AssertionError):
            assert_close(found, expected, 1, gaps=True)
    with pytest.raises(AssertionError):
        assert_close(one, one, 1)
