"""The evaluator itself, held against models of which the answer is known."""

import numpy as np
import pytest

from tests.demo.conftest import TRUTH
from tests.tolerance import assert_close, tolerance
from trackserver.demo import evaluate
from trackserver.demo.evaluate import Change, Model
from trackserver.demo.grammar import BIN_WIDTH, REACH, TRACKS, truth

CROP = 2_048


def model(one, crop=CROP):
    """Of whole windows, one by one, what is left between the crops."""
    edge = crop // BIN_WIDTH
    return Model(lambda codes: np.stack([one(row)[:, edge:-edge] for row in codes]), crop)


PERFECT = model(truth)
LATE = model(lambda codes: np.roll(truth(codes), 1, axis=1))  # one bin out of line
BLIND = model(lambda codes: np.ones((len(TRACKS), len(codes) // BIN_WIDTH), np.float32))


@pytest.fixture(scope="module")
def drawn(small):
    return evaluate.some_elements(small.chromosome("chrS3"), 2)


def test_the_truth_as_a_model_reaches_the_ceiling(small):
    for row in evaluate.signal_recovery(PERFECT, small, "chrS3"):
        assert row.ratio == pytest.approx(1, abs=tolerance(TRUTH))
        assert row.truth == pytest.approx(1, abs=tolerance(TRUTH))
        assert 0.95 < row.ceiling < 1


def test_a_chromosome_is_predicted_once_in_whole_across_windows(small):
    codes = small.chromosome("chrS2").codes
    assert len(codes) > 2 * evaluate.WINDOW
    predicted, known = evaluate.predict_chromosome(PERFECT, codes), small.truth["chrS2"]
    inner = slice(REACH // BIN_WIDTH, -(REACH // BIN_WIDTH))  # to the truth, an end is an end
    assert predicted.shape == known.shape
    assert_close(predicted[:, inner], known[:, inner], TRUTH)


def test_the_truth_as_a_model_has_all_effects_right(small, drawn):
    for row in evaluate.site_effects(PERFECT, small, "chrS3", sites=40):
        assert row.r == pytest.approx(1, abs=1e-4) and row.slope == pytest.approx(1, abs=1e-3)
    pooled = evaluate.substitution_effects(PERFECT, small, drawn, every=7)
    assert len(pooled) == len(TRACKS) + 1
    assert pooled[-1].r == pytest.approx(1, abs=1e-4)


def test_one_bin_out_of_line_shows(small):
    ratios = [row.ratio for row in evaluate.signal_recovery(LATE, small, "chrS3")]
    assert max(ratios[:4]) < 0.98


def test_a_model_that_sees_nothing_recovers_nothing(small, drawn):
    assert np.isnan(evaluate.signal_recovery(BLIND, small, "chrS3")[0].measured)
    assert np.isnan(evaluate.substitution_effects(BLIND, small, drawn, every=9)[-1].r)


def test_only_sites_that_matter_to_a_track_are_pooled(small):
    rows = evaluate.site_effects(PERFECT, small, "chrS3", sites=80)
    insulators = [s for e in small.chromosome("chrS3").elements for s in e.sites if s.motif == "CTCF"]
    assert 0 < rows[0].sites <= len(insulators)
    assert all(row.variants == row.sites < 80 for row in rows)


def test_an_effect_is_the_fold_change_the_server_shows(small):
    """log2 of sums over the bins that touch 501 bp, each with the track's training mean added."""
    chromosome = small.chromosome("chrS3")
    site = next(s for e in chromosome.elements[30:] for s in e.sites if s.motif == "GATA")
    change = Change(site.start + 3, ((int(chromosome.codes[site.start + 3]) + 1) % 4,))
    means = evaluate.pseudocounts(small)
    changed = chromosome.codes.copy()
    changed[change.start] = change.codes[0]
    bins = slice((change.start - 250) // BIN_WIDTH, (change.start + 250) // BIN_WIDTH + 1)
    ref, alt = ((truth(codes)[:, bins] + means[:, None]).sum(axis=1) for codes in (chromosome.codes, changed))
    found = evaluate.effects(PERFECT, chromosome.codes, [change], means)
    for change in (found.true[0], found.predicted[0]):
        assert_close(change, np.log2(alt / ref), TRUTH, scale=1)


def test_effects_near_a_chromosome_end_count_what_lies_beyond_as_unknown(small):
    codes = small.chromosome("chrS3").codes
    means = evaluate.pseudocounts(small)
    found = evaluate.effects(model(truth, REACH), codes, [Change(3, (0,)), Change(len(codes) - 2, (1,))], means)
    assert_close(found.predicted, found.true, TRUTH, scale=1)
