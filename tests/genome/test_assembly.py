from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.errors import BadLocus, DataError, UnknownAssembly, UnknownChromosome
from trackserver.genome import assembly as assemblies
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus

SMALL = Assembly("small", ("chr1", "chr2", "chrM"), (100, 50, 7))


def test_chromosomes_lie_end_to_end() -> None:
    assert SMALL.length == 157
    assert SMALL.offsets == {"chr1": 0, "chr2": 100, "chrM": 150}
    assert SMALL.absolute("chr2", 3) == 103


@pytest.mark.parametrize(
    ("typed", "own"),
    [("chr2", "chr2"), ("2", "chr2"), ("CHR2", "chr2"), ("MT", "chrM"), ("m", "chrM"), ("chrMT", "chrM")],
)
def test_names_people_use(typed: str, own: str) -> None:
    assert SMALL.resolve(typed) == own


@pytest.mark.parametrize(
    ("typed", "own"),
    [
        ("NC_000001.11", "chr1"),
        ("nc_000024.10", "chrY"),
        ("CM000663.2", "chr1"),
        ("NC_012920.1", "chrM"),
        ("X", "chrX"),
    ],
)
def test_accessions_of_assemblies_in_the_tables(typed: str, own: str) -> None:
    assert assemblies.known_assembly("hg38").resolve(typed) == own
    bare = [(chrom.removeprefix("chr"), size) for chrom, size in assemblies.known_assembly("hg38").chromsizes.items()]
    assert assemblies.from_pairs("hg38", bare).resolve(typed) == own.removeprefix("chr")


def test_accessions_are_those_of_the_assembly_meant() -> None:
    """hg19's first chromosome, and a chromosome of another size that bears the name of hg38's."""
    with pytest.raises(UnknownChromosome):
        assemblies.known_assembly("hg38").resolve("NC_000001.10")
    with pytest.raises(UnknownChromosome):
        Assembly("hg38", ("chr1",), (100,)).resolve("NC_000001.11")


def test_an_unknown_chromosome_is_told_what_there_is() -> None:
    with pytest.raises(UnknownChromosome, match="small has no chromosome 'chr9'; it has chr1, chr2, chrM"):
        SMALL.resolve("chr9")


@given(st.integers(0, 157), st.integers(0, 200))
def test_segments_cover_an_interval_exactly_once(start: int, length: int) -> None:
    end = start + length
    covered = [
        SMALL.offsets[s.locus.chrom] + position
        for s in SMALL.segments(start, end)
        for position in range(s.locus.start, s.locus.end)
    ]
    assert covered == list(range(start, min(end, SMALL.length)))
    for segment in SMALL.segments(start, end):
        assert segment.offset == SMALL.absolute(segment.locus.chrom, segment.locus.start)


@pytest.mark.parametrize("locus", [Locus("chr2", 0, 51), Locus("chr2", 5, 5), Locus("chr2", -1, 5)])
def test_a_locus_off_the_chromosome_is_refused(locus: Locus) -> None:
    with pytest.raises(BadLocus, match="50 bp long"):
        SMALL.check(locus)


@pytest.mark.parametrize(
    ("name", "count", "first", "length"),
    [
        ("hg38", 25, 248_956_422, 3_088_286_401),
        ("hg19", 25, 249_250_621, 3_095_693_983),
        ("mm10", 22, 195_471_971, None),
    ],
)
def test_assemblies_known_by_name(name: str, count: int, first: int, length: int | None) -> None:
    known = assemblies.known_assembly(name)
    assert (len(known.chroms), known.chroms[0], known.sizes[0], known.chroms[-1]) == (count, "chr1", first, "chrM")
    assert length is None or known.length == length


def test_an_unknown_assembly_is_told_what_there_is() -> None:
    with pytest.raises(UnknownAssembly, match="hg38, hg19"):
        assemblies.known_assembly("hg99")


@pytest.mark.parametrize("text", ["chr1\n", "chr1\tmany\n", "", "chr1\t5\nchr1\t6\n", "chr1\t0\n"])
def test_a_chromsizes_file_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "sizes").write_text(text)
    with pytest.raises(DataError):
        assemblies.from_chromsizes("x", tmp_path / "sizes")


def test_a_fasta_index_reads_as_chromsizes(tmp_path: Path) -> None:
    (tmp_path / "x.fai").write_text("a\t10\t3\t60\t61\nb\t20\t17\t60\t61\n")
    assert assemblies.from_chromsizes("x", tmp_path / "x.fai").chromsizes == {"a": 10, "b": 20}
