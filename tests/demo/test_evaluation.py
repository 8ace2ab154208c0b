"""The evaluation of the demo's model, tested on models with known results."""

import demo_evaluation as evaluation
import numpy as np
import pytest
from demo_evaluation import Edit, Model

from tests.demo.conftest import TRUTH
from tests.tolerance import assert_close, tolerance
from trackserver.demo.grammar import BIN_WIDTH, REACH, TRACKS, truth

CROP = 2_048


def model(one, crop=CROP):
    """A model that computes whole windows one by one and crops them."""
    edge = crop // BIN_WIDTH
    return Model(lambda codes: np.stack([one(row)[:, edge:-edge] for row in codes]), crop)


PERFECT = model(truth)
LATE = model(lambda codes: np.roll(truth(codes), 1, axis=1))  # one bin out of line
BLIND = model(lambda codes: np.ones((len(TRACKS), len(codes) // BIN_WIDTH), np.float32))


@pytest.fixture(scope="module")
def elements(small):
    return evaluation.draw_elements(small.chromosome("chrS3"), 2)


def test_the_truth_as_a_model_reaches_the_ceiling(small):
    for row in evaluation.signal_recovery(PERFECT, small, "chrS3"):
        assert row.ratio == pytest.approx(1, abs=tolerance(TRUTH))
        assert row.truth == pytest.approx(1, abs=tolerance(TRUTH))
        assert 0.95 < row.ceiling < 1


def test_a_chromosome_is_predicted_once_in_whole_across_windows(small):
    codes = small.chromosome("chrS2").codes
    assert len(codes) > 2 * evaluation.WINDOW
    predicted, known = evaluation.predict_chromosome(PERFECT, codes), small.truth["chrS2"]
    inner = slice(REACH // BIN_WIDTH, -(REACH // BIN_WIDTH))  # to the truth, an end is an end
    assert predicted.shape == known.shape
    assert_close(predicted[:, inner], known[:, inner], TRUTH)


def test_the_truth_as_a_model_has_all_effects_right(small, elements):
    for row in evaluation.site_effects(PERFECT, small, "chrS3", sites=40):
        assert row.r == pytest.approx(1, abs=1e-4) and row.slope == pytest.approx(1, abs=1e-3)
    pooled = evaluation.substitution_effects(PERFECT, small, elements, every=7)
    assert len(pooled) == len(TRACKS) + 1
    assert pooled[-1].r == pytest.approx(1, abs=1e-4)


def test_one_bin_out_of_line_shows(small):
    ratios = [row.ratio for row in evaluation.signal_recovery(LATE, small, "chrS3")]
    assert max(ratios[:4]) < 0.98


def test_a_model_that_sees_nothing_recovers_nothing(small, elements):
    assert np.isnan(evaluation.signal_recovery(BLIND, small, "chrS3")[0].observed)
    assert np.isnan(evaluation.substitution_effects(BLIND, small, elements, every=9)[-1].r)


def test_only_sites_that_matter_to_a_track_are_pooled(small):
    rows = evaluation.site_effects(PERFECT, small, "chrS3", sites=80)
    insulators = [s for e in small.chromosome("chrS3").elements for s in e.sites if s.motif == "CTCF"]
    assert 0 < rows[0].sites <= len(insulators)
    assert all(row.variants == row.sites < 80 for row in rows)


def test_an_effect_is_the_fold_change_the_server_shows(small):
    """log2 of sums over the bins that touch 501 bp, each with the track's training mean added."""
    chromosome = small.chromosome("chrS3")
    site = next(s for e in chromosome.elements[30:] for s in e.sites if s.motif == "GATA")
    edit = Edit(site.start + 3, ((int(chromosome.codes[site.start + 3]) + 1) % 4,))
    means = evaluation.pseudocounts(small)
    changed = chromosome.codes.copy()
    changed[edit.start] = edit.codes[0]
    bins = slice((edit.start - 250) // BIN_WIDTH, (edit.start + 250) // BIN_WIDTH + 1)
    ref, alt = ((truth(codes)[:, bins] + means[:, None]).sum(axis=1) for codes in (chromosome.codes, changed))
    effects = evaluation.effects(PERFECT, chromosome.codes, [edit], means)
    for log2_fold_change in (effects.true[0], effects.predicted[0]):
        assert_close(log2_fold_change, np.log2(alt / ref), TRUTH, scale=1)


def test_effects_near_a_chromosome_end_count_what_lies_beyond_as_unknown(small):
    codes = small.chromosome("chrS3").codes
    means = evaluation.pseudocounts(small)
    effects = evaluation.effects(model(truth, REACH), codes, [Edit(3, (0,)), Edit(len(codes) - 2, (1,))], means)
    assert_close(effects.predicted, effects.true, TRUTH, scale=1)
