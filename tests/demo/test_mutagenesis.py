"""What the demo's model says of single bases, against what was planted: on the held-out chromosome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trackserver import demo
from trackserver.demo.files import write_fasta
from trackserver.demo.generator import NAME, TEST_CHROM, Showcase, SyntheticGenome, showcase
from trackserver.demo.grammar import REACH
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Genome, build_index
from trackserver.genome.variant import Variant

torch = pytest.importorskip("torch")

from trackserver.cone.cone import Cones  # noqa: E402
from trackserver.models import registry  # noqa: E402
from trackserver.models.card import read_card  # noqa: E402
from trackserver.predict.engine import Predictor  # noqa: E402
from trackserver.variants.effect import effect  # noqa: E402
from trackserver.variants.mutagenesis import Mutagenesis, mutagenesis, preview  # noqa: E402
from trackserver.variants.scores import rank  # noqa: E402

HERE = Path(demo.__file__).parent
AROUND = 25  # bp beside the sites that nothing was planted in
DNASE, LYMPHOID, GATA1 = 1, 2, 3  # tracks
NOTABLE = 0.1  # |log2 fold change| from which on the page says that a track changes


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    card = read_card(HERE / registry.CARD)
    return Predictor(card, registry.read_module(card, HERE / registry.WEIGHTS), "cpu")


@pytest.fixture(scope="module")
def fasta(genome: SyntheticGenome, tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("demo") / "genome.fa"
    write_fasta(genome, path)
    build_index(path, Path(f"{path}.fai"))
    return Genome(path)


@pytest.fixture(scope="module")
def shown(genome: SyntheticGenome) -> Showcase:
    return showcase(genome)


@pytest.fixture(scope="module")
def result(predictor: Predictor, fasta: Genome, genome: SyntheticGenome, shown: Showcase) -> Mutagenesis:
    locus = enhancer(shown)
    return mutagenesis(predictor, fasta, genome.assembly, locus, Cones(1 << 29))


def enhancer(shown: Showcase) -> Locus:
    """The composite of the showcase, and what is beside it."""
    sites = [site for site in shown.element.sites if site.composite and abs(site.start - shown.variant.start) < 40]
    return Locus(TEST_CHROM, min(site.start for site in sites) - AROUND, max(site.end for site in sites) + AROUND)


def planted(shown: Showcase, locus: Locus) -> np.ndarray:
    """Whether each position (L,) is one of a planted site."""
    places = np.zeros(len(locus), bool)
    for site in shown.element.sites:
        if locus.overlaps(Locus(TEST_CHROM, site.start, site.end)):
            places[max(site.start - locus.start, 0) : site.end - locus.start] = True
    return places


def test_the_planted_sites_carry_the_largest_effects(result: Mutagenesis, shown: Showcase) -> None:
    """E-box and GATA site together, of the erythroid-like DNase track: nearly every letter of the logo is theirs."""
    sites = planted(shown, result.locus)
    assert 10 < sites.sum() < len(sites) / 2
    importance = result.importance[result.tracks.index(DNASE)]
    tallest = np.argsort(-importance)[: int(sites.sum()) - 2]  # the last letter of a GATA site is loosely kept
    assert sites[tallest].mean() >= 0.9
    assert importance[sites].mean() > 10 * np.abs(importance[~sites]).mean()
    assert (np.abs(result.map[DNASE])[:, ~sites].max(axis=0) < 0.3 * importance[sites].max()).mean() > 0.9


def test_the_other_cells_do_not_mind(result: Mutagenesis, shown: Showcase) -> None:
    sites = planted(shown, result.locus)
    erythroid, lymphoid = result.importance[DNASE][sites], result.importance[LYMPHOID][sites]
    assert np.abs(lymphoid).mean() < 0.2 * erythroid.mean()


def test_a_preview_finds_the_same_sites(
    predictor: Predictor, fasta: Genome, genome: SyntheticGenome, result: Mutagenesis, shown: Showcase
) -> None:
    rough = preview(predictor, fasta, genome.assembly, result.locus)
    assert np.corrcoef(rough.importance[DNASE], result.importance[DNASE])[0, 1] > 0.6
    sites = planted(shown, result.locus)
    tallest = np.argsort(-rough.importance[DNASE])[: int(sites.sum()) // 2]
    assert sites[tallest].mean() >= 0.8


def test_breaking_a_gata_site_shows_in_its_own_tracks_first(
    predictor: Predictor, fasta: Genome, genome: SyntheticGenome, result: Mutagenesis, shown: Showcase
) -> None:
    """Accessibility, GATA1 binding and the mark of the erythroid-like cells; CTCF and the other cells come last."""
    text = effect(predictor, fasta, genome.assembly, [shown.variant])
    ranked = rank(text)
    assert {scores.index for scores in ranked[:2]} == {DNASE, GATA1}
    assert ranked[0].log2fc < -5 * NOTABLE
    assert (
        max(abs(scores.log2fc) for scores in ranked if "lymphoid" in predictor.card.tracks[scores.index].name) < NOTABLE
    )
    at, base = shown.variant.start - result.locus.start, BASES.index(shown.variant.alt)
    for scores in ranked:  # the map has the same number; its window may lie some bins aside
        assert result.map[scores.index, base, at] == pytest.approx(scores.log2fc, abs=1e-3)


def test_a_base_far_from_all_that_was_planted_is_called_neutral(
    predictor: Predictor, fasta: Genome, genome: SyntheticGenome
) -> None:
    chromosome = genome.chromosome(TEST_CHROM)
    elements = sorted(element.locus.start for element in chromosome.elements)
    gaps = np.diff(elements)
    middle = elements[int(gaps.argmax())] + int(gaps.max()) // 2
    assert gaps.max() > 2 * REACH
    for at in range(middle - 30, middle + 30, 15):
        ref = int(chromosome.codes[at])
        text = effect(
            predictor, fasta, genome.assembly, [Variant(TEST_CHROM, at + 1, BASES[ref], BASES[(ref + 2) % 4])]
        )
        assert max(abs(scores.log2fc) for scores in rank(text)) < NOTABLE


def test_the_synthetic_genome_is_what_is_asked_about(predictor: Predictor, genome: SyntheticGenome) -> None:
    assert predictor.card.assemblies == (NAME,) == (genome.assembly.name,)
