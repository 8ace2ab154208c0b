import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.demo.conftest import TRUTH
from tests.tolerance import assert_close
from trackserver.demo.grammar import (
    BIN_WIDTH,
    COMPOSITE_GAPS,
    MOTIFS,
    REACH,
    TRACKS,
    occupancy,
    truth,
    truth_between,
)
from trackserver.errors import InvalidRequest
from trackserver.genome.sequence import N, encode, reverse_complement

BEST = {"GATA": "AGATAAG", "EBOX": "CAGCTG", "CTCF": "CCACTAGGGGGC", "ETS": "ACCGGAAGT", "NRF1": "GCGCATGCGC"}
CTCF, ERYTHROID, LYMPHOID, GATA1, ACETYLATED, ACETYLATED_LYMPHOID = range(len(TRACKS))


def background(length=4_096, seed=0):
    """Sequence that holds no motif: C and T runs without the motifs' cores."""
    return np.random.default_rng(seed).choice(np.array([1, 3], np.uint8), size=length)


def planted(*sites, length=4_096, at=2_048):
    """`sites` are letters; a number is a gap in bp."""
    codes = background(length)
    for site in sites:
        if isinstance(site, int):
            at += site
            continue
        codes[at : at + len(site)] = encode(site)
        at += len(site)
    return codes


def sequences():
    return st.integers(1, 40).flatmap(
        lambda n: st.integers(0, 2**32 - 1).map(
            lambda seed: np.random.default_rng(seed).choice(
                np.arange(5, dtype=np.uint8), size=n * BIN_WIDTH, p=[0.27, 0.22, 0.22, 0.27, 0.02]
            )
        )
    )


@settings(deadline=None, max_examples=40)
@given(sequences())
def test_the_truth_of_a_reverse_complement_is_the_truth_reversed(codes):
    assert_close(truth(reverse_complement(codes)), truth(codes)[:, ::-1], TRUTH)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(sorted(BEST)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=6, max_size=6),
    st.integers(0, 63),
)
def test_planted_sites_read_alike_on_both_strands(names, layout, phase):
    parts = []
    for name, (gap, flipped) in zip(names, layout, strict=False):
        site = encode(BEST[name])
        letters = "".join("ACGT"[code] for code in (reverse_complement(site) if flipped else site))
        parts += [letters, gap]
    codes = planted(*parts, at=1_900 + phase)
    forward, reverse = truth(codes), truth(reverse_complement(codes))[:, ::-1]
    assert_close(forward, reverse, TRUTH)


@pytest.mark.parametrize("name", sorted(MOTIFS))
def test_the_best_site_is_full_and_the_same_on_the_other_strand(name):
    codes = planted(BEST[name])
    forward, reverse = occupancy(codes, MOTIFS[name])
    flipped = np.concatenate([codes[:2_048], reverse_complement(encode(BEST[name])), codes[2_048 + len(BEST[name]) :]])
    assert forward[2_048] > 0.9
    assert occupancy(flipped, MOTIFS[name])[1][2_048] == forward[2_048]
    assert np.delete(np.maximum(forward, reverse), 2_048).max() < 0.4


@pytest.mark.parametrize("name", sorted(MOTIFS))
def test_an_unknown_base_makes_no_site(name):
    codes = planted(BEST[name])
    codes[2_048 : 2_048 + len(BEST[name])] = N
    assert max(strand[2_048] for strand in occupancy(codes, MOTIFS[name])) < 1e-3


def peak(codes, track):
    return float(truth(codes)[track].max())


@pytest.mark.parametrize("gap", COMPOSITE_GAPS)
def test_gata_and_ebox_at_the_right_spacing_are_far_stronger_than_apart(gap):
    composite = peak(planted(BEST["EBOX"], gap, BEST["GATA"]), ERYTHROID)
    lone = peak(planted(BEST["GATA"]), ERYTHROID)
    wrong = peak(planted(BEST["EBOX"], gap + 3, BEST["GATA"]), ERYTHROID)
    behind = peak(planted(BEST["GATA"], gap, BEST["EBOX"]), ERYTHROID)
    assert composite > 3
    assert max(lone, wrong, behind) < composite / 5


def test_each_motif_drives_its_own_tracks():
    quiet = truth(background()).max(axis=1)
    responds = {name: truth(planted(BEST[name])).max(axis=1) > 2 * quiet for name in ("CTCF", "NRF1")}
    assert responds["CTCF"].tolist() == [True, True, True, False, False, False]
    assert responds["NRF1"].tolist() == [False, False, True, False, False, True]
    composite = truth(planted(BEST["EBOX"], 6, BEST["GATA"])).max(axis=1) > 2 * quiet
    assert composite.tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("at", [2_048, 2_063, 2_075])
def test_a_peak_lies_in_the_bin_of_its_site(at):
    codes = planted(BEST["CTCF"], at=at)
    assert int(truth(codes)[CTCF].argmax()) == (at + len(BEST["CTCF"]) / 2) // BIN_WIDTH


@pytest.mark.parametrize("position", [8_000, 8_017, 8_031])
def test_no_base_reaches_further_than_said(position):
    rng = np.random.default_rng(position)
    codes = rng.integers(0, 4, 16_000).astype(np.uint8)
    changed = codes.copy()
    changed[position - 20 : position + 20] = encode("CAGCTG" + "CCCTCC" + "AGATAAG" + "CCACTAGGGGGC" + "ACCGGAAGT")
    touched = np.flatnonzero((truth(codes) != truth(changed)).any(axis=0)) * BIN_WIDTH
    assert touched.min() > position - 20 - REACH
    assert touched.max() + BIN_WIDTH < position + 20 + REACH


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 299), st.integers(1, 60))
def test_a_part_of_the_truth_needs_only_its_surroundings(first, bins):
    codes = np.random.default_rng(3).integers(0, 4, 300 * BIN_WIDTH).astype(np.uint8)
    last = min(first + bins, 300)
    whole = truth(codes)
    assert_close(truth_between(codes, first, last), whole[:, first:last], TRUTH, scale=whole.max())


def test_the_truth_wants_whole_bins():
    with pytest.raises(InvalidRequest, match="32 bp"):
        truth(np.zeros(100, np.uint8))


def test_tracks_say_that_they_are_synthetic():
    assert len({track.name for track in TRACKS}) == len(TRACKS)
    assert all("synthetic" in track.name and "synthetic" in track.biosample for track in TRACKS)
