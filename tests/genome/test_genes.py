from __future__ import annotations

from pathlib import Path

import pytest

from trackserver.errors import DataError
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Genes, read_refgene
from trackserver.genome.locus import Locus


@pytest.fixture(scope="module")
def genes(files: Path, assembly: Assembly) -> Genes:
    return read_refgene(files / "refGene.txt", assembly)


def test_one_gene_a_name_by_its_longest_transcript(genes: Genes) -> None:
    assert [(gene.name, gene.transcript) for gene in genes] == [
        ("ALPHA1", "NM_1"),
        ("ALPHA10", "NR_3"),
        ("BETA", "NM_4"),
    ]


def test_search_puts_the_exact_name_first(genes: Genes) -> None:
    assert [gene.name for gene in genes.search("alpha1")] == ["ALPHA1", "ALPHA10"]
    assert [gene.name for gene in genes.search("ET")] == ["BETA"]
    assert genes.search("") == []
    assert genes.named("beta") is not None
    assert genes.named("bet") is None


def test_the_tss_is_the_first_transcribed_base(genes: Genes) -> None:
    alpha, _, beta = genes
    assert (alpha.tss, beta.tss) == (10_000, 8_999)
    assert (alpha.coding, next(iter(genes.search("ALPHA10"))).coding) == (True, False)


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [(0, 10_000, []), (0, 10_001, ["ALPHA1"]), (19_999, 40_001, ["ALPHA1", "ALPHA10"]), (20_000, 40_000, [])],
)
def test_genes_within_a_locus(genes: Genes, start: int, end: int, names: list[str]) -> None:
    assert [gene.name for gene in genes.within(Locus("chrA", start, end))] == names


def test_the_nearest_gene_by_tss(genes: Genes) -> None:
    gene, distance = genes.nearest("chrA", 12_000) or pytest.fail("no gene")
    assert (gene.name, distance) == ("ALPHA1", 2_000)
    assert genes.nearest("chrC", 5) is None


def test_what_is_no_gene_table(tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "x.txt").write_text("a\tb\n")
    with pytest.raises(DataError, match="not a UCSC refGene table"):
        read_refgene(tmp_path / "x.txt", assembly)
    with pytest.raises(DataError, match="no gene table"):
        read_refgene(tmp_path / "y.txt", assembly)


@pytest.mark.realdata
def test_the_human_table(real_data: Path) -> None:
    from trackserver.genome import assembly as assemblies

    genes = read_refgene(real_data / "hg38" / "refGene.hg38.txt.gz", assemblies.known("hg38"))
    tal1 = genes.named("TAL1")
    assert tal1 is not None
    assert (tal1.locus.chrom, tal1.strand) == ("chr1", "-")
    assert len(genes) > 25_000
