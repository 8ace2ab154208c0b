from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from trackserver.errors import ChromosomesDoNotFit, DataError
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene, Genes, read_genes, read_gff3, read_gtf, read_refgene
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
    assert genes.by_name("beta") is not None
    assert genes.by_name("bet") is None


def test_the_tss_is_the_first_transcribed_base(genes: Genes) -> None:
    alpha, _, beta = genes
    assert (alpha.tss, beta.tss) == (10_000, 8_999)
    assert (alpha.coding, next(iter(genes.search("ALPHA10"))).coding) == (True, False)


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [(0, 10_000, []), (0, 10_001, ["ALPHA1"]), (19_999, 40_001, ["ALPHA1", "ALPHA10"]), (20_000, 40_000, [])],
)
def test_genes_within_a_locus(genes: Genes, start: int, end: int, names: list[str]) -> None:
    assert [gene.name for gene in genes.overlapping(Locus("chrA", start, end))] == names


def test_the_nearest_gene_by_tss(genes: Genes) -> None:
    gene, distance = genes.nearest("chrA", 12_000) or pytest.fail("no gene")
    assert (gene.name, distance) == ("ALPHA1", 2_000)
    assert genes.nearest("chrC", 5) is None


def test_what_is_no_gene_table(tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "x.txt").write_text("a\tb\n")
    with pytest.raises(DataError, match="not a UCSC refGene table"):
        read_refgene(tmp_path / "x.txt", assembly)
    with pytest.raises(DataError, match=r"y.txt is missing from"):
        read_refgene(tmp_path / "y.txt", assembly)


def gtf_line(feature: str, start: int, end: int, attributes: str, chrom: str = "chrA", strand: str = "+") -> str:
    return f"{chrom}\ttest\t{feature}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n"


def gtf_ids(gene: str, transcript: str = "", name: str = "") -> str:
    parts = [f'gene_id "{gene}";', f'transcript_id "{transcript}";' if transcript else "", f'gene_name "{name}";']
    return " ".join(part for part in parts if part and '""' not in part)


def gff_ids(**attributes: str) -> str:
    return ";".join(f"{key}={value}" for key, value in attributes.items())


# One gene, two transcripts: the longer, t2, has three exons, given from the last to the first as minus strands are.
GTF = (
    "#!genome-build tiny\n"
    + gtf_line("gene", 101, 900, gtf_ids("G1", name="ALPHA"), strand="-")
    + gtf_line("exon", 201, 800, gtf_ids("G1", "t1", "ALPHA"), strand="-")
    + gtf_line("exon", 801, 900, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("exon", 401, 500, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("exon", 101, 150, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("CDS", 411, 500, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("CDS", 801, 850, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("stop_codon", 408, 410, gtf_ids("G1", "t2", "ALPHA"), strand="-")
    + gtf_line("exon", 5, 9, gtf_ids("G2", "t3"), chrom="B")
    + gtf_line("exon", 5, 9, gtf_ids("G3", "t4"), chrom="chrUn")
)
GFF3 = (
    "##gff-version 3\n"
    + gtf_line("gene", 101, 900, gff_ids(ID="gene:G1", Name="ALPHA"), strand="-")
    + gtf_line("mRNA", 201, 800, gff_ids(ID="transcript:t1", Parent="gene:G1"), strand="-")
    + gtf_line("exon", 201, 800, gff_ids(Parent="transcript:t1", Name="e1"), strand="-")
    + gtf_line("mRNA", 101, 900, gff_ids(ID="transcript:t2", Parent="gene:G1", Name="ALPHA-2"), strand="-")
    + gtf_line("exon", 801, 900, gff_ids(ID="e2", Parent="transcript:t2"), strand="-")
    + gtf_line("exon", 401, 500, gff_ids(ID="e3", Parent="transcript:t2"), strand="-")
    + gtf_line("exon", 101, 150, gff_ids(ID="e4", Parent="transcript:t2,transcript:t5"), strand="-")
    + gtf_line("three_prime_UTR", 101, 150, gff_ids(ID="u", Parent="transcript:t2"), strand="-")
    + gtf_line("CDS", 408, 500, gff_ids(ID="c", Parent="transcript:t2"), strand="-")
    + gtf_line("CDS", 801, 850, gff_ids(ID="c", Parent="transcript:t2"), strand="-")
    + gtf_line("ncRNA_gene", 5, 9, gff_ids(ID="gene:G2"), chrom="B")
    + gtf_line("snRNA", 5, 9, gff_ids(ID="transcript:t3", Parent="gene:G2"), chrom="B")
    + gtf_line("exon", 5, 9, gff_ids(Parent="transcript:t3"), chrom="B")
    + "###\n##FASTA\n>chrA\nACGT\n"
)
ALPHA = Gene("ALPHA", "t2", Locus("chrA", 100, 900), "-", 407, 850, (100, 400, 800), (150, 500, 900))
UNNAMED = Gene("G2", "t3", Locus("chrB", 4, 9), "+", 9, 9, (4,), (9,))


@pytest.mark.parametrize("text", [GTF, GFF3, GTF.replace("\n", "\r\n"), GFF3.replace("\n", "\r\n")])
@pytest.mark.parametrize("zipped", [False, True])
def test_gtf_and_gff3_say_the_same(text: str, zipped: bool, tmp_path: Path, assembly: Assembly) -> None:
    """Told by content: the file's name says nothing."""
    path = tmp_path / "genes.txt"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    genes = read_genes(path, assembly)
    assert [gene for gene in genes if gene.transcript != "t5"] == [ALPHA, UNNAMED]
    assert (ALPHA.tss, ALPHA.coding, UNNAMED.coding) == (899, True, False)


def test_a_refgene_table_is_told_by_its_content(files: Path, assembly: Assembly) -> None:
    read = read_genes(files / "refGene.txt", assembly)
    assert list(read) == list(read_refgene(files / "refGene.txt", assembly))


def test_genes_on_x_and_y_are_two(tmp_path: Path, assembly: Assembly) -> None:
    """As GENCODE has its pseudoautosomal genes, one id on both."""
    (tmp_path / "g").write_text(
        "".join(gtf_line("exon", 11, 20, gtf_ids("G", "t", "PAR"), chrom) for chrom in ("chrA", "chrB"))
    )
    assert [(gene.name, gene.locus.chrom) for gene in read_genes(tmp_path / "g", assembly)] == [
        ("PAR", "chrA"),
        ("PAR", "chrB"),
    ]


def test_of_equally_long_transcripts_the_first_by_name(tmp_path: Path, assembly: Assembly) -> None:
    lines = [gtf_line("exon", 11, 20, gtf_ids("G", name)) for name in ("t9", "t10", "t2")]
    for order in (lines, lines[::-1]):
        (tmp_path / "g").write_text("".join(order))
        assert [gene.transcript for gene in read_genes(tmp_path / "g", assembly)] == ["t10"]


def test_genes_with_coding_pieces_alone_and_exons_of_genes(tmp_path: Path, assembly: Assembly) -> None:
    """Yeast's and bacteria's tables: CDS of a gene, no transcripts, no exons; names with signs in them."""
    (tmp_path / "g.gff").write_text(
        gtf_line("gene", 11, 40, gff_ids(ID="YAL1", gene="HIS%2C3"))
        + gtf_line("CDS", 11, 40, gff_ids(ID="c1", Parent="YAL1"))
        + gtf_line("region", 1, 60_000, gff_ids(ID="r", Name="chrA"))
    )
    assert list(read_genes(tmp_path / "g.gff", assembly)) == [
        Gene("HIS,3", "YAL1", Locus("chrA", 10, 40), "+", 10, 40, (10,), (40,))
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (gtf_line("exon", 0, 9, gtf_ids("G", "t")), "line 3: '0' to '9' is not an interval"),
        (gtf_line("exon", 9, 7, gtf_ids("G", "t")), "line 3: '9' to '7' is not an interval"),
        (gtf_line("exon", 9, 7, gtf_ids("G", "t")).replace("9", "x"), "line 3: 'x' to '7' is not an interval"),
        (gtf_line("exon", 9, 70_001, gtf_ids("G", "t")), "line 3: a gene ends at 70,001, beyond chrA, which is 70,000"),
        (gtf_line("exon", 9, 10, gtf_ids("G")), "line 3: it has no transcript_id"),
        ("chrA\texon\n", "line 3: it has 2 tab-separated columns instead of nine"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line: str, told: str, tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "bad.gtf").write_text("# head\n" + gtf_line("exon", 1, 9, gtf_ids("G", "t")) + line)
    with pytest.raises(DataError, match=f"bad.gtf, {told}"):
        read_genes(tmp_path / "bad.gtf", assembly)


def test_files_that_hold_no_genes(tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "x").write_text("chrA\t5\t9\n")
    with pytest.raises(DataError, match=r"x is not a gene table; give UCSC's refGene.txt.gz, a GTF or a GFF3"):
        read_genes(tmp_path / "x", assembly)
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="x is not a gene table"):
        read_genes(tmp_path / "x", assembly)
    (tmp_path / "x").write_bytes(gzip.compress(GTF.encode() * 50)[:-100])
    with pytest.raises(DataError, match="x is damaged or truncated"):
        read_genes(tmp_path / "x", assembly)
    whole = bytearray(gzip.compress(GTF.encode() * 500))
    whole[200] ^= 0xFF
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(DataError, match="x is damaged or truncated"):
        read_gtf(tmp_path / "x", assembly)
    (tmp_path / "x").write_text(GFF3.replace("chrA", "chr7").replace("B\t", "chr8\t"))
    with pytest.raises(ChromosomesDoNotFit, match="no data on any chromosome of tiny: the file has chr7, chr8; tiny"):
        read_gff3(tmp_path / "x", assembly)
    with pytest.raises(DataError, match="none is missing from"):
        read_genes(tmp_path / "none", assembly)


@pytest.mark.realdata
def test_the_human_table(real_data: Path) -> None:
    from trackserver.genome import assembly as assemblies

    genes = read_refgene(real_data / "hg38" / "refGene.hg38.txt.gz", assemblies.known_assembly("hg38"))
    tal1 = genes.by_name("TAL1")
    assert tal1 is not None
    assert (tal1.locus.chrom, tal1.strand) == ("chr1", "-")
    assert len(genes) > 25_000


def test_exons_by_place(genes: Genes) -> None:
    alpha, _, beta = genes
    assert alpha.exons == (Locus("chrA", 10_000, 10_200), Locus("chrA", 19_700, 20_000))
    assert beta.exons == (Locus("chrB", 5_000, 5_200), Locus("chrB", 8_700, 9_000))
