"""Saturation mutagenesis, against full predictions and against the scores of variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tolerance import MAX_TOLERANCE, assert_close, terms_of
from trackserver.catalogue.site import Site
from trackserver.cone.cone import Cones
from trackserver.errors import InvalidRequest, NoSequence
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Genome
from trackserver.genome.variant import Variant
from trackserver.models.card import ModelCard, Track
from trackserver.predict.engine import Predictor, load_predictor
from trackserver.predict.ensemble import Ensemble
from trackserver.variants.effect import effect
from trackserver.variants.mutagenesis import SCORES, Mutagenesis, mutagenesis, preview


@pytest.fixture(scope="module")
def predictor(shared_site: Site) -> Predictor:
    return load_predictor(shared_site.models, "random")


@pytest.fixture(scope="module")
def here(shared_site: Site) -> tuple[Genome, Assembly]:
    return shared_site.reference("tiny").genome, shared_site.assembly("tiny")


def cones() -> Cones:
    return Cones(1 << 28)


class Head(nn.Module):
    """One value of a window: a bias and a random weight a base, as `squashed` says a probability or a signal."""

    def __init__(self, window: int, tracks: int, sigmoid: bool):
        super().__init__()
        torch.manual_seed(3)
        self.dense = nn.Linear(4 * window, tracks)
        with torch.no_grad():
            self.dense.weight.copy_(torch.randn(self.dense.weight.shape) / 20)
            self.dense.bias.fill_(0 if sigmoid else 3)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        values = self.dense(x.flatten(1))[..., None]
        return values.sigmoid() if self.sigmoid else values


def one_value(probability: bool, window: int = 1000) -> Predictor:
    tracks = (Track(0, "a"), Track(1, "b", mean=0.5))
    card = ModelCard(
        "one", "deepsea", "One value", ("tiny",), window, 400, window - 800, tracks, {}, "", placement="centre",
        n_value=0.25, probability=probability,
    )  # fmt: skip
    return Predictor(card, Head(window, 2, probability), "cpu")


def by_variants(predictor: Predictor, here: tuple[Genome, Assembly], at: int, score: str) -> dict[int, Sequence[float]]:
    """The scores of the variants of one position, each an effect of its own."""
    genome, assembly = here
    own = int(genome.codes(Locus("chrA", at, at + 1))[0])
    found = {}
    for base in {0, 1, 2, 3} - {own}:
        result = effect(predictor, genome, assembly, [Variant("chrA", at + 1, BASES[own], BASES[base])])
        found[base] = result.scores[score].tolist()
    return found


def close(one: Mutagenesis, other: Mutagenesis, predictor: Predictor) -> None:
    """Up to rounding: what these models predict is about 1, and a score adds up its bins."""
    terms = terms_of(predictor.module) + predictor.card.n_bins(predictor.card.window)
    largest = np.nanmax(np.abs(other.map))
    assert largest > 10 * MAX_TOLERANCE  # there is something to find
    assert_close(one.map, other.map, terms, scale=max(1, largest), gaps=True)


@pytest.mark.parametrize("score", [score for score in SCORES if score != "log_odds"])
@pytest.mark.parametrize(
    "ensemble", [Ensemble(), Ensemble(both_strands=True, shifts=(0, 3))], ids=["forward", "averaged"]
)
def test_the_cone_says_what_full_predictions_say(
    shared_site: Site, here: tuple[Genome, Assembly], ensemble: Ensemble, score: str
) -> None:
    predictor = load_predictor(shared_site.models, "random", ensemble=ensemble)
    locus = Locus("chrA", 20_000, 20_012)
    in_full = mutagenesis(predictor, *here, locus, score=score)
    close(mutagenesis(predictor, *here, locus, cones(), score=score), in_full, predictor)


@pytest.mark.parametrize("score", ["log2fc", "sad", "delta"])
def test_one_base_is_what_its_variants_score(predictor: Predictor, here: tuple[Genome, Assembly], score: str) -> None:
    at = 20_010
    found = mutagenesis(predictor, *here, Locus("chrA", at, at + 1), cones(), score=score)
    for base, scores in by_variants(predictor, here, at, score).items():
        assert_close(found.map[:, base, 0], scores, predictor.module, scale=max(1, np.abs(scores).max()))


def test_a_probability_by_log_odds(here: tuple[Genome, Assembly]) -> None:
    predictor, at = one_value(probability=True), 30_000
    found = mutagenesis(predictor, *here, Locus("chrA", at, at + 1), cones())
    assert found.score == "log_odds"
    for base, scores in by_variants(predictor, here, at, "log_odds").items():
        assert_close(found.map[:, base, 0], scores, predictor.module, scale=1)
    with pytest.raises(InvalidRequest, match="choose log2fc or sad"):
        mutagenesis(one_value(probability=False), *here, found.locus, score="log_odds")
    with pytest.raises(InvalidRequest, match="known: log2fc, sad"):
        mutagenesis(predictor, *here, found.locus, score="loud")


def test_all_of_what_a_model_of_one_value_reads(here: tuple[Genome, Assembly]) -> None:
    """Also bases far from the bin it writes; but not one more than it reads."""
    predictor = one_value(probability=False)
    middle = 30_000
    locus = Locus("chrA", middle - 499, middle + 501)
    found = mutagenesis(predictor, *here, locus, cones(), score="sad")
    weights = predictor.module.dense.weight.detach().numpy().reshape(2, 4, 1000)
    own = weights[:, found.codes, np.arange(1000)]
    assert_close(found.map, weights - own[:, None], predictor.module, scale=1)
    close(mutagenesis(predictor, *here, locus, cones()), mutagenesis(predictor, *here, locus), predictor)
    with pytest.raises(InvalidRequest, match=r"one can only map chrA:29,50\d-30,50\d"):
        mutagenesis(predictor, *here, Locus("chrA", middle - 500, middle + 502))


def test_where_the_reference_stands_nothing_changes(predictor: Predictor, here: tuple[Genome, Assembly]) -> None:
    locus = Locus("chrA", 40_000, 40_030)
    for found in (mutagenesis(predictor, *here, locus, cones()), preview(predictor, *here, locus)):
        assert found.map.shape == (3, 4, 30) and found.map.dtype == np.float32
        assert (found.map[:, found.codes, np.arange(30)] == 0).all()
        assert (found.map != 0).sum() == 3 * 3 * 30


def test_the_batch_size_changes_nothing(shared_site: Site, here: tuple[Genome, Assembly]) -> None:
    locus = Locus("chrC", 6_000, 6_007)
    sizes = [load_predictor(shared_site.models, "random", batch_size=size) for size in (1, 4, 100)]
    one, *others = (mutagenesis(predictor, *here, locus) for predictor in sizes)
    for other in others:
        close(other, one, sizes[0])


def test_unknown_bases_are_left_out(predictor: Predictor, here: tuple[Genome, Assembly]) -> None:
    """The first 3,000 bases of chrB are N."""
    locus = Locus("chrB", 2_995, 3_008)
    for found in (mutagenesis(predictor, *here, locus, cones()), preview(predictor, *here, locus)):
        for values in (found.map, found.importance, found.gain, found.loss, found.largest, found.logo):
            assert np.isnan(values[..., :5]).all() and np.isfinite(values[..., 5:]).all()
        assert 0 < found.unknown < 0.75
    with pytest.raises(NoSequence, match="is N"):
        mutagenesis(predictor, *here, Locus("chrB", 100, 110))


@pytest.mark.parametrize(
    ("chrom", "start", "end"), [("chrA", 0, 9), ("chrA", 69_990, 70_000), ("chrC", 12_340, 12_345)]
)
def test_at_the_ends_of_chromosomes(
    predictor: Predictor, here: tuple[Genome, Assembly], chrom: str, start: int, end: int
) -> None:
    locus = Locus(chrom, start, end)
    found = mutagenesis(predictor, *here, locus, cones())
    close(found, mutagenesis(predictor, *here, locus), predictor)
    assert np.isfinite(found.map).all()
    centred = Predictor(replace(predictor.card, placement="centre"), predictor.module, "cpu")
    close(mutagenesis(centred, *here, locus, cones()), mutagenesis(centred, *here, locus), centred)


def test_what_follows_from_the_map() -> None:
    """Codes A, N, T; of one track."""
    values = np.array([[[0, np.nan, -3], [-1, np.nan, 1], [-2, np.nan, 2], [-3, np.nan, 0]]], np.float32)
    found = Mutagenesis(Locus("chrA", 0, 3), np.array([0, 4, 3], np.uint8), (0,), "sad", values, 0)
    np.testing.assert_array_equal(found.importance, [[2, np.nan, 0]])
    np.testing.assert_array_equal(found.gain, [[0, np.nan, 2]])
    np.testing.assert_array_equal(found.loss, [[-3, np.nan, -3]])
    np.testing.assert_array_equal(found.largest, [[3, np.nan, 3]])
    np.testing.assert_array_equal(found.logo[0, :, 0], [2, 0, 0, 0])
    assert np.isnan(found.logo[0, :, 1]).all()


def test_the_preview_of_a_linear_model_is_the_map(here: tuple[Genome, Assembly]) -> None:
    predictor, locus = one_value(probability=False), Locus("chrA", 30_000, 30_040)
    found = mutagenesis(predictor, *here, locus, cones(), score="sad")
    close(preview(predictor, *here, locus, score="sad"), found, predictor)


@pytest.mark.parametrize("probability", [True, False])
def test_the_preview_is_in_the_units_of_the_map(here: tuple[Genome, Assembly], probability: bool) -> None:
    predictor, locus = one_value(probability), Locus("chrA", 30_000, 30_040)
    for score in ("log2fc", "delta"):
        rough, found = (
            preview(predictor, *here, locus, score=score),
            mutagenesis(predictor, *here, locus, cones(), score=score),
        )
        slope = np.polyfit(found.map.ravel(), rough.map.ravel(), 1)[0]
        assert 0.8 < slope < 1.25


def test_the_preview_of_many_bins_points_the_same_way(predictor: Predictor, here: tuple[Genome, Assembly]) -> None:
    locus = Locus("chrA", 40_000, 40_040)
    for score in ("log2fc", "sad"):
        rough, found = preview(predictor, *here, locus, score=score), mutagenesis(predictor, *here, locus, score=score)
        for one, other in zip(rough.map, found.map, strict=True):
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    ("locus", "why"),
    [
        (Locus("chrA", 30_000, 32_001), "at most 2,000 bp"),
        (Locus("chrA", 30_000, 30_300), "split it into several"),
    ],
)
def test_a_locus_too_long(here: tuple[Genome, Assembly], locus: Locus, why: str) -> None:
    tracks = (Track(0, "a"),)
    narrow = ModelCard("narrow", "compact", "N", ("tiny",), 512, 128, 32, tracks, {}, "")
    with pytest.raises(InvalidRequest, match=why):
        mutagenesis(Predictor(narrow, nn.Identity(), "cpu"), *here, locus)


def test_progress_is_told(predictor: Predictor, here: tuple[Genome, Assembly]) -> None:
    steps: list[tuple[int, int]] = []
    mutagenesis(predictor, *here, Locus("chrA", 40_000, 40_002), cones(), report=lambda *step: steps.append(step))
    assert steps == [(done, 6) for done in range(1, 7)]
