from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tolerance import FLOAT64, assert_close
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene, Genes
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.models.card import ModelCard, Track
from trackserver.variants.effect import Effect
from trackserver.variants.expression import GeneChange, gene_changes, gene_part

HERE = Assembly("tiny", ("chrA",), (100_000,))
TRACKS = (
    Track(0, "DNase", "DNASE", "K562"),
    Track(1, "CAGE 1", "CAGE", "K562", strand="+", mean=0.5),
    Track(2, "CAGE 2", "CAGE", "K562", strand="+", mean=2.0),
    Track(3, "CAGE -", "CAGE", "K562", strand="-"),
    Track(4, "RNA", "RNA-seq", "liver", mean=0.1),
    Track(5, "PRO-cap", "PRO-cap", "liver", strand="-", mean=0.1),
)
CARD = ModelCard(
    id="m", architecture="compact", title="M", assemblies=("tiny",), window=8192, crop=0, bin_width=64, tracks=TRACKS,
    config={}, weights_sha256="",
)  # fmt: skip
ORIGIN, BINS = 40_000 - 64, 128
GENES = Genes(HERE, [
    Gene("FORWARD", "t1", Locus("chrA", 41_000, 45_000), "+", 0, 0, (41_000, 42_000, 44_500), (41_300, 42_040, 45_000)),
    Gene("REVERSE", "t2", Locus("chrA", 43_000, 47_000), "-", 0, 0, (43_000, 46_900), (43_010, 47_000)),
    Gene("BEGINS BEFORE", "t3", Locus("chrA", 10_000, 40_100), "+", 0, 0, (10_000, 40_000), (10_100, 40_100)),
    Gene("AT THE EDGE", "t4", Locus("chrA", 30_000, ORIGIN - 100), "-", 0, 0, (30_000,), (ORIGIN - 100,)),
    Gene("ELSEWHERE", "t5", Locus("chrA", 60_000, 70_000), "+", 0, 0, (60_000,), (70_000,)),
])  # fmt: skip


WINDOW = Locus("chrA", ORIGIN - 64, ORIGIN + 64 * (BINS + 1))


def effect(n_alignments: int = 1, tracks: tuple[int, ...] = tuple(range(6)), seed: int = 0) -> Effect:
    rng = np.random.default_rng(seed)
    ref = rng.gamma(1.0, 1.0, (len(tracks), BINS)).astype(np.float32)
    alts = tuple((ref * rng.uniform(0.5, 1.5, ref.shape)).astype(np.float32) for _ in range(n_alignments))
    return Effect(
        (Variant("chrA", 43_501, "A", "C"),), CARD, WINDOW, Locus("chrA", ORIGIN, ORIGIN + 64 * BINS), ORIGIN, tracks,
        ref,
        np.mean(alts, axis=0, dtype=np.float32), alts, 0.0,
    )  # fmt: skip


def touches(bin_number: int, locus: Locus) -> bool:
    start = ORIGIN + 64 * bin_number
    return any(locus.start <= position < locus.end for position in range(start, start + 64))


def slowly(found: Effect, gene: Gene, assay: str, biosample: str) -> tuple[int, float, float, list[float]]:
    """Number of bins, REF, ALT, and the fold change of each replicate and alignment, a base and a bin at a time."""
    if "RNA" in assay:
        wanted = [Locus("chrA", a, b) for a, b in zip(gene.exon_starts, gene.exon_ends, strict=True)]
    else:
        wanted = [Locus("chrA", gene.tss - 250, gene.tss + 251)]
    bins = [number for number in range(BINS) if any(touches(number, locus) for locus in wanted)]
    refs, alts, folds = [], [], []
    for row, index in enumerate(found.tracks):
        track = TRACKS[index]
        if (track.assay, track.biosample) != (assay, biosample) or track.strand not in (".", gene.strand):
            continue
        pseudo = 1.0 if track.mean is None else track.mean
        refs.append(sum(float(found.ref[row, number]) for number in bins))
        for alt in found.alignments:
            alts.append(sum(float(alt[row, number]) for number in bins))
            folds.append(np.log2((alts[-1] + pseudo * len(bins)) / (refs[-1] + pseudo * len(bins))))
    return len(bins), float(np.mean(refs)), float(np.mean(alts)), folds


@pytest.mark.parametrize("n_alignments", [1, 2])
def test_as_a_slow_loop_finds_it(n_alignments: int) -> None:
    found = effect(n_alignments)
    changes = gene_changes(found, GENES)
    by_name = {gene.name: gene for gene in GENES}
    for change in changes:
        gene = by_name[change.gene]
        n_bins, ref, alt, folds = slowly(found, gene, change.assay, change.biosample)
        assert (change.n_bins, change.n_tracks) == (n_bins, len(folds) // n_alignments)
        assert_close((change.ref, change.alt), (ref, alt), n_bins)
        assert_close(change.log2fc, np.mean(folds), n_bins, scale=1, roundoff=FLOAT64)
        assert (change.interval is None) == (len(folds) == 1)
        if change.interval:
            assert_close(change.interval, (min(folds), max(folds)), n_bins, scale=1, roundoff=FLOAT64)
    assert {(change.gene, change.assay) for change in changes} == {
        ("FORWARD", "CAGE"), ("FORWARD", "RNA-seq"), ("REVERSE", "CAGE"), ("REVERSE", "RNA-seq"),
        ("REVERSE", "PRO-cap"), ("BEGINS BEFORE", "RNA-seq"), ("AT THE EDGE", "CAGE"), ("AT THE EDGE", "PRO-cap"),
    }  # fmt: skip
    sizes = [abs(change.log2fc) for change in changes]
    assert sizes == sorted(sizes, reverse=True)


def of(changes: list[GeneChange], gene: str, assay: str) -> GeneChange:
    return next(change for change in changes if (change.gene, change.assay) == (gene, assay))


def test_distances_are_along_the_gene() -> None:
    changes = gene_changes(effect(), GENES)
    assert of(changes, "FORWARD", "CAGE").tss_distance == 43_500 - 41_000
    assert of(changes, "REVERSE", "CAGE").tss_distance == 46_999 - 43_500
    assert of(changes, "AT THE EDGE", "CAGE").tss_distance < 0


def test_an_interval_is_never_of_one() -> None:
    changes = gene_changes(effect(), GENES)
    assert of(changes, "FORWARD", "CAGE").interval is not None
    assert of(changes, "REVERSE", "CAGE").interval is None


def test_of_the_chosen_tracks_only_and_none_without_expression() -> None:
    assert gene_changes(effect(tracks=(0,)), GENES) == []
    assert {change.assay for change in gene_changes(effect(tracks=(4, 0)), GENES)} == {"RNA-seq"}
    assert gene_changes(effect(), Genes(HERE, [])) == []


def test_nothing_that_changes_is_no_fold_change() -> None:
    found = effect()
    same = replace(found, alt=found.ref, alignments=(found.ref,))
    assert {change.log2fc for change in gene_changes(same, GENES)} == {0.0}


@pytest.mark.parametrize(
    ("assay", "part"),
    [
        *((assay, "start") for assay in ("CAGE", "cage", "PROCAP", "PRO-cap", "GRO-cap", "RAMPAGE")),
        *((assay, "exons") for assay in ("RNA", "RNA-seq", "rna_seq", "polyA plus RNA-seq", "polyA", "total RNA-seq")),
        *((assay, None) for assay in ("DNASE", "CHIP", "ATAC", "", "small RNA-seq", "microRNA-seq", "eCLIP")),
    ],
)
def test_assays_that_measure_expression(assay: str, part: str | None) -> None:
    assert gene_part(assay) == part
