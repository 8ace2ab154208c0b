from itertools import pairwise

import numpy as np
import pytest

from trackserver.demo.generator import (
    DEMO_GENE,
    KINDS,
    SIZES,
    TEST_CHROM,
    VALID_LENGTH,
    generate,
    showcase,
)
from trackserver.demo.grammar import BIN_WIDTH, COMPOSITE_GAPS, MOTIFS, TRACKS, occupancy, truth_between
from trackserver.errors import NothingFound
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES


def test_the_same_seed_gives_the_same_genome(small):
    again = generate(seed=3, sizes=small.assembly.chromsizes)
    for one, other in zip(small.chromosomes, again.chromosomes, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.masked, other.masked)
        np.testing.assert_array_equal(small.observed[one.name], again.observed[one.name])
    assert small.genes == again.genes


def test_another_seed_gives_another_genome(small):
    other = generate(seed=4, sizes=small.assembly.chromsizes)
    assert not np.array_equal(small.chromosomes[0].codes, other.chromosomes[0].codes)


def test_chromosomes_are_as_long_as_asked_and_all_known(genome):
    assert genome.assembly.chromsizes == SIZES
    assert all(chromosome.codes.max() < 4 for chromosome in genome.chromosomes)


def test_the_background_is_like_a_genome(genome):
    codes = genome.chromosomes[0].codes
    gc = np.isin(codes, (1, 2))
    windows = gc[: len(gc) // 1000 * 1000].reshape(-1, 1000).mean(axis=1)
    assert 0.38 < gc.mean() < 0.48
    assert windows.std() > 0.03
    cpg = ((codes[:-1] == 1) & (codes[1:] == 2)).mean() / ((codes == 1).mean() * (codes == 2).mean())
    assert 0.15 < cpg < 0.6


def test_every_kind_of_element_is_planted_often_and_on_every_chromosome(genome):
    for chromosome in genome.chromosomes:
        kinds = [element.kind for element in chromosome.elements]
        assert min(kinds.count(kind) for kind in KINDS) >= 20


def test_planted_sites_lie_in_their_elements_and_apart(genome):
    for chromosome in genome.chromosomes:
        spans = [(s.start, s.end) for e in chromosome.elements for s in e.sites]
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for element in chromosome.elements:
            assert all(element.locus.start <= s.start < s.end <= element.locus.end for s in element.sites)


def test_most_planted_sites_are_occupied_on_their_strand(small):
    for name, motif in MOTIFS.items():
        full = []
        for chromosome in small.chromosomes:
            strands = dict(zip("+-", occupancy(chromosome.codes, motif), strict=True))
            full += [strands[s.strand][s.start] for e in chromosome.elements for s in e.sites if s.motif == name]
        assert np.mean(np.array(full) > 0.5) > 0.4, name


def test_composites_are_spaced_as_the_grammar_wants_and_decoys_are_not(genome):
    gaps = {True: set(), False: set()}
    for chromosome in genome.chromosomes:
        for element in chromosome.elements:
            for one, other in pairwise(element.sites):
                if element.kind == "wrong spacing" or (one.composite and other.composite and one.motif != other.motif):
                    upstream = one if one.strand == "+" else other
                    if upstream.motif == "EBOX" and one.strand == other.strand and other.start - one.end < 8:
                        gaps[one.composite].add(other.start - one.end)
    assert gaps[True] == set(COMPOSITE_GAPS)
    assert gaps[False] and not gaps[False] & set(COMPOSITE_GAPS)


def test_repeats_leave_elements_alone_and_are_many(genome):
    for chromosome in genome.chromosomes:
        assert 0.05 < chromosome.masked.mean() < 0.5
        assert not any(chromosome.masked[s.start : s.end].any() for e in chromosome.elements for s in e.sites)


def test_genes_begin_at_promoters_and_carry_made_up_names(genome):
    promoters = {c.name: [e.locus for e in c.elements if e.kind == "promoter"] for c in genome.chromosomes}
    assert len(genome.genes) > 100
    assert len({gene.name for gene in genome.genes}) == len(genome.genes)
    for gene in genome.genes:
        assert gene.name.startswith("SYN") or gene.name == DEMO_GENE
        assert any(at.start <= gene.tss <= at.end for at in promoters[gene.locus.chrom])


def test_exons_lie_in_order_within_their_gene(genome):
    for gene in genome.genes:
        edges = [edge for exon in zip(gene.exon_starts, gene.exon_ends, strict=True) for edge in exon]
        assert edges == sorted(edges) and len(set(edges)) == len(edges)
        assert (edges[0], edges[-1]) == (gene.locus.start, gene.locus.end)
        assert gene.locus.start <= gene.cds_start < gene.cds_end <= gene.locus.end
    assert {gene.strand for gene in genome.genes} == {"+", "-"}


def test_genes_of_a_chromosome_do_not_overlap(genome):
    for one, other in pairwise(genome.genes):
        assert not one.locus.overlaps(other.locus)


def test_folds_cover_each_base_once_and_hold_out_the_third_chromosome(genome):
    folds = genome.folds
    assert sum(len(locus) for locus, _ in folds) == genome.assembly.length
    assert [locus for locus, fold in folds if fold == "test"] == [Locus(TEST_CHROM, 0, SIZES[TEST_CHROM])]
    end = SIZES["chrS2"]
    assert [locus for locus, fold in folds if fold == "valid"] == [Locus("chrS2", end - VALID_LENGTH, end)]


def test_measurements_are_the_truth_and_noise(genome):
    truth, observed = genome.truth[TEST_CHROM], genome.observed[TEST_CHROM]
    assert observed.shape == truth.shape == (len(TRACKS), SIZES[TEST_CHROM] // BIN_WIDTH)
    assert observed.dtype == np.float32
    np.testing.assert_allclose(observed.mean(axis=1), truth.mean(axis=1), rtol=0.01)
    for seen, known in zip(observed, truth, strict=True):
        assert 0.98 < np.corrcoef(seen, known)[0, 1] < 0.9999


def test_measured_peaks_lie_where_the_truth_has_them(genome):
    truth, observed = genome.truth[TEST_CHROM][0], genome.observed[TEST_CHROM][0]
    shifts = [np.corrcoef(np.roll(observed, by), truth)[0, 1] for by in (-1, 0, 1)]
    assert np.argmax(shifts) == 1


def test_the_showcase_breaks_an_enhancer_of_the_held_out_chromosome(genome):
    shown = showcase(genome)
    chromosome = genome.chromosome(TEST_CHROM)
    assert shown == showcase(genome)
    assert shown.variant.chrom == TEST_CHROM and shown.gene.name == DEMO_GENE
    assert BASES[chromosome.codes[shown.variant.start]] == shown.variant.ref != shown.variant.alt
    broken = [site for site in shown.element.sites if site.start <= shown.variant.start < site.end]
    assert [(site.motif, site.composite) for site in broken] == [("GATA", True)]
    assert genome.assembly.check(shown.locus) == shown.locus
    assert shown.locus.start < shown.variant.start < shown.locus.end
    assert "synthetic" in shown.sentence and str(shown.variant) in shown.sentence


def test_the_showcase_costs_the_erythroid_like_cells_most_of_the_peak_and_the_others_nothing(genome):
    shown = showcase(genome)
    whole = Locus(TEST_CHROM, 0, SIZES[TEST_CHROM])
    codes = genome.chromosome(TEST_CHROM).codes
    at = shown.variant.start // BIN_WIDTH
    ref = truth_between(codes, at, at + 1)[:, 0]
    alt = truth_between(shown.variant.apply(codes, whole), at, at + 1)[:, 0]
    assert alt[1] < 0.5 * ref[1] and alt[3] < 0.5 * ref[3]
    assert alt[2] == pytest.approx(ref[2], rel=0.02)
    assert ref[1] > np.quantile(genome.truth[TEST_CHROM][1], 0.97)


def test_a_genome_without_genes_has_no_showcase():
    with pytest.raises(NothingFound):
        showcase(generate(sizes={"chrS1": 16_000}))
