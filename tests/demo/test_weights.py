"""The shipped weights against the known truth: a part of what benchmarks/demo_truth.py measures in full."""

import json
import subprocess
import sys
from pathlib import Path

import demo_evaluation as evaluation
import numpy as np
import pytest
from demo_evaluation import Model

from trackserver import demo
from trackserver.demo.generator import TEST_CHROM, showcase
from trackserver.demo.grammar import BIN_WIDTH, TRACKS, truth
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import encode

torch = pytest.importorskip("torch")

from trackserver.models import registry  # noqa: E402
from trackserver.models.card import read_card  # noqa: E402
from trackserver.predict.engine import Predictor  # noqa: E402
from trackserver.training.train import read_recipe  # noqa: E402

HERE = Path(demo.__file__).parent


@pytest.fixture(scope="module")
def predictor():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    card = read_card(HERE / registry.CARD)
    registry.check_weights(card, HERE / registry.WEIGHTS)
    yield Predictor(card, registry.read_module(card, HERE / registry.WEIGHTS), "cpu")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(predictor):
    return Model(predictor.predict, predictor.card.crop)


def test_the_card_says_what_the_weights_are(predictor):
    card = predictor.card
    assert "synthetic" in card.title.lower() and card.assemblies == ("synthetic",)
    assert [(t.name, t.assay, t.biosample, t.target) for t in card.tracks] == [
        (t.name, t.assay, t.biosample, t.target) for t in TRACKS
    ]
    assert card.bin_width == BIN_WIDTH and card.licence and card.summary
    assert (HERE / registry.WEIGHTS).stat().st_size <= 250_000


def test_the_recipe_is_the_one_the_weights_were_trained_with(predictor):
    recipe = read_recipe(HERE / "recipe.toml")
    assert predictor.card.window == recipe.window == 131_072
    trained = predictor.card.provenance["recipe"]
    assert (trained["steps"], trained["learning_rate"]) == (recipe.steps, recipe.learning_rate)
    assert predictor.card.config["stem_kernel"] == recipe.network.stem_kernel


def test_the_signal_is_recovered(model, genome):
    rows = evaluation.signal_recovery(model, genome, TEST_CHROM)
    assert min(row.ratio for row in rows) >= 0.92
    assert np.mean([row.ratio for row in rows]) >= 0.92


def test_the_effects_of_substitutions_in_planted_sites_are_recovered(model, genome):
    rows = evaluation.site_effects(model, genome, TEST_CHROM, sites=600)
    assert {row.track: round(row.r, 3) for row in rows if row.r < 0.9} == {}
    assert min(row.sites for row in rows) >= 40


def test_the_effects_of_all_substitutions_are_recovered(model, genome):
    elements = evaluation.draw_elements(genome.chromosome(TEST_CHROM), 20)
    rows = evaluation.substitution_effects(model, genome, elements, every=7)
    assert rows[-1].r >= 0.9


def test_a_single_planted_peak_lies_in_one_bin_of_truth_measurement_and_prediction(model):
    codes = np.random.default_rng(5).choice(np.array([0, 1, 2, 3], np.uint8), 16_384, p=[0.3, 0.2, 0.2, 0.3])
    site = encode("CCACTAGGGGGC")
    for at in (8_192 + 9, 8_192 + 32 * 7 + 9):  # the middle of a bin
        planted = codes.copy()
        planted[at : at + len(site)] = site
        true = truth(planted) - truth(codes)
        predicted = model.predict(planted[None])[0] - model.predict(codes[None])[0]
        observed = np.random.default_rng(6).poisson(100 * truth(planted)[0]) / 100
        assert true[0].argmax() == predicted[0].argmax() + model.crop // BIN_WIDTH == (at + len(site) // 2) // BIN_WIDTH
        assert (observed - truth(codes)[0]).argmax() == (at + len(site) // 2) // BIN_WIDTH


def test_the_showcase_variant_does_what_its_sentence_says(model, genome):
    example = showcase(genome)
    codes = genome.chromosome(TEST_CHROM).codes
    around = Locus(TEST_CHROM, example.variant.start // BIN_WIDTH * BIN_WIDTH - 4_096, 0)
    window = Locus(TEST_CHROM, around.start, around.start + 8_192)
    reference = codes[window.start : window.end]
    pair = model.predict(np.stack([reference, example.variant.apply(reference, window)]))
    near = slice(128 - 5 - model.crop // BIN_WIDTH, 128 + 6 - model.crop // BIN_WIDTH)
    ref, alt = pair[:, :, near].sum(axis=2)
    assert alt[1] < 0.6 * ref[1]
    assert alt[2] == pytest.approx(ref[2], rel=0.15)


@pytest.mark.slow
def test_the_benchmark_runs():
    script = HERE.parents[1] / "benchmarks" / "demo_truth.py"
    command = [sys.executable, str(script), "--json", "--elements", "1", "--sites", "60"]
    results = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert results["mean_ratio"] >= 0.92
    assert [row["track"] for row in results["sites"]] == [track.name for track in TRACKS]
    assert len(results["substitutions"]) == len(TRACKS) + 1
