"""Slopes against finite differences in float64, and where they are exact."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.cone.test_cone import CASES, SHIFTED, Case, network, window
from tests.tolerance import assert_close
from trackserver.errors import InvalidRequest
from trackserver.genome.sequence import Codes
from trackserver.models.card import ModelCard, Squash, Track
from trackserver.predict.engine import Predictor
from trackserver.predict.ensemble import Ensemble
from trackserver.predict.gradient import MAX_SLOPE_TRACKS, saliency, slopes

STEP = 1e-5


class Precise(Predictor):
    """In float64, and of one-hots that lie between bases: what `predict` computes, along a straight line."""

    moved: Tensor | None = None

    def one_hot(self, codes: np.ndarray) -> Tensor:
        return super().one_hot(codes).double()

    def at(self, read: Tensor) -> np.ndarray:
        """(T, bins) of a one-hot (1, 4, L), each strand and shift taken from it by hand."""
        outputs = []
        for view in self.views:
            seen = torch.full_like(read, self.card.n_value)
            turned = read.flip(1).flip(2) if view.reverse else read
            length, shift = read.shape[-1], view.shift
            seen[..., max(shift, 0) : length + min(shift, 0)] = turned[..., max(-shift, 0) : length - max(shift, 0)]
            with torch.no_grad():
                outputs.append(self.module(seen))
        return self.average(outputs)[0].numpy()


def precise(case: Case, ensemble: Ensemble = Ensemble(), squash: Squash | None = None) -> Precise:  # noqa: B008
    pairs = (None, 2, 1) if case.tracks == 3 else (None,) * case.tracks
    tracks = tuple(Track(i, f"t{i}", strand_pair=pairs[i], squash=squash) for i in range(case.tracks))
    card = ModelCard(
        case.name, "compact", "M", ("hg38",), case.window, case.crop, case.bin_width, tracks, {}, "", n_value=0.25
    )
    return Precise(card, copy.deepcopy(network(case)).double(), "cpu", 4, ensemble)


def known(length: int) -> Codes:
    """Without N: in a stretch of it all places pooled are equal, and there no slope is."""
    return np.random.default_rng(2).integers(0, 4, length, dtype=np.uint8)


def check(asked: Precise, codes: np.ndarray, bins: slice) -> None:
    """Along some random directions, the slope is the difference of what is predicted at either side."""
    found = slopes(asked, codes, bins)
    assert found.slopes.shape == (len(asked.tracks), 4, len(codes))
    assert_close(found.ref, asked.at(asked.one_hot(codes[None])), asked.module)  # `ref` is kept in float32
    rng = np.random.default_rng(4)
    for _ in range(3):
        direction = torch.from_numpy(rng.normal(size=(1, 4, len(codes))))
        ends = [asked.at(asked.one_hot(codes[None]) + side * STEP * direction) for side in (-1, 1)]
        rise = (ends[1] - ends[0])[:, bins].sum(1) / (2 * STEP)
        along = (found.slopes * direction.numpy()).sum((1, 2))
        # A difference of finite steps is no slope where a pool or a rectifier turns within them.
        np.testing.assert_allclose(along, rise, rtol=2e-3, atol=1e-3 * np.abs(rise).max())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_architecture_s_slope_is_that_of_its_predictions(case: Case) -> None:
    check(precise(case), known(case.window), slice(0, 5))


@pytest.mark.parametrize("name", ["deepsea", "compact", "borzoi"])
def test_strands_shifts_and_units_are_those_of_the_prediction(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    check(precise(case, SHIFTED, Squash(0.5, 1.0, 4 / 3)), known(case.window), slice(None))


class Linear(nn.Module):
    """A track is a weighted sum of the window; two bins of it."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bcl,tclk->btk", x, self.weights)


def linear(n_tracks: int = 2) -> Predictor:
    torch.manual_seed(0)
    tracks = tuple(Track(i, f"t{i}") for i in range(n_tracks))
    card = ModelCard("m", "compact", "M", ("hg38",), 64, 16, 16, tracks, {}, "", n_value=0.25)
    return Predictor(card, Linear(torch.randn(n_tracks, 4, 64, 2)), "cpu")


def test_of_a_linear_model_it_is_the_mean_loss_of_the_three_alternatives() -> None:
    asked, codes = linear(), window(64)
    for bins in (slice(0, 1), slice(1, 2), slice(None)):
        found = saliency(asked, codes, bins)
        assert found.shape == (2, 64) and found.dtype == np.float32
        ref = asked.predict(codes[None])[0][:, bins].sum(1)
        for at in (10, 31, 40, 63):
            others = np.stack([codes] * 3)
            others[:, at] = [base for base in range(4) if base != codes[at]]
            alts = asked.predict(others)[..., bins].sum(2)
            scale = max(np.abs(ref).max(), np.abs(alts).max())
            assert_close(found[:, at], ref - alts.mean(0), asked.module, scale=scale)
        assert (found[:, codes == 4] == 0).all() and (found[:, codes < 4] != 0).all()


def test_it_leaves_the_network_as_it_was() -> None:
    """No gradients in its parameters, no change of mode, and the same predictions."""
    asked, codes = linear(), window(64)
    before = asked.predict(codes[None])
    with torch.inference_mode():  # as where it is called from within a prediction
        saliency(asked, codes)
    assert all(parameter.grad is None for parameter in asked.module.parameters())
    assert not asked.module.training
    np.testing.assert_array_equal(asked.predict(codes[None]), before)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InvalidRequest, match="windows of 64 bp"):
        saliency(linear(), window(60))
    with pytest.raises(InvalidRequest, match="choose tracks"):
        saliency(linear(MAX_SLOPE_TRACKS + 1), window(64))
