from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackserver.errors import ChromosomesDoNotFit, DataError, UnreadableFile
from trackserver.genome.assembly import Assembly, known_assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import Regions, covered_bases

HERE = Assembly("here", ("chr1", "chr2"), (1000, 200))

BED = """track name=repeats
# a comment
1\t100\t200\tAluSx\t0\t+
chr1\t150\t160\tL1
1\t200\t210\tAluSx
chr1\t300\t300\tempty

chr1\t400\t450
chrUn\t5\t6\tlost
chr2\t0\t10\tMIR
"""


@pytest.fixture(params=["plain", "gzip"])
def regions(request: pytest.FixtureRequest, tmp_path: Path) -> Regions:
    path = tmp_path / "in.bed"
    path.write_bytes(BED.encode() if request.param == "plain" else gzip.compress(BED.encode()))
    return Regions.read(path, HERE)


@pytest.mark.parametrize(
    ("locus", "overlap", "names"),
    [
        (Locus("chr1", 0, 100), 0, ()),
        (Locus("chr1", 0, 101), 1, ("AluSx",)),
        (Locus("chr1", 155, 156), 1, ("AluSx", "L1")),
        (Locus("chr1", 160, 161), 1, ("AluSx",)),
        (Locus("chr1", 0, 1000), 160, ("AluSx", "L1")),
        (Locus("chr1", 205, 300), 5, ("AluSx",)),
        (Locus("chr1", 210, 400), 0, ()),
        (Locus("chr1", 449, 460), 1, ()),
        (Locus("chr2", 0, 200), 10, ("MIR",)),
        (Locus("chr2", -50, 1), 1, ("MIR",)),
        (Locus("chr3", 0, 200), 0, ()),
    ],
)
def test_what_a_locus_touches(regions: Regions, locus: Locus, overlap: int, names: tuple[str, ...]) -> None:
    assert regions.overlap(locus) == overlap
    assert regions.touches(locus) is (overlap > 0)
    assert regions.names(locus) == names


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8), st.lists(st.integers(0, 90), min_size=2)
)
def test_bases_between_edges(intervals: list[tuple[int, int]], edges: list[int]) -> None:
    covered = np.zeros(90, int)
    for start, length in intervals:
        covered[start : start + length] = 1
    edges.sort()
    starts, lengths = np.array(intervals, np.int64).reshape(-1, 2).T
    found = covered_bases(starts, starts + lengths, np.array(edges))
    assert found.tolist() == [covered[a:b].sum() for a, b in pairwise(edges)]


def test_the_whole_of_it(regions: Regions) -> None:
    assert len(regions) == 5
    assert regions.loci("chr1") == [Locus("chr1", 100, 210), Locus("chr1", 400, 450)]
    assert regions.loci("chr3") == []


intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12)


@given(intervals, st.integers(-5, 90), st.integers(1, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_against_a_base_by_base_count(
    tmp_path_factory: pytest.TempPathFactory, held: list[tuple[int, int]], start: int, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.bed"
    path.write_text("".join(f"chr1\t{at}\t{at + size}\tn{n}\n" for n, (at, size) in enumerate(held)))
    regions, locus = Regions.read(path, HERE), Locus("chr1", start, start + length)
    covered = np.zeros(200, bool)
    for at, size in held:
        covered[at : at + size] = True
    assert regions.overlap(locus) == covered[max(start, 0) : max(start + length, 0)].sum()
    touching = {f"n{n}" for n, (at, size) in enumerate(held) if at < locus.end and locus.start < at + size}
    assert set(regions.names(locus)) == touching
    assert regions.touches(locus) is bool(touching)


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("chr1\t5\t6\nchr1\t7\n", DataError, r"in\.bed, line 2: a BED line should be"),
        ("chr1\t7\t6\n", DataError, "line 1: a BED line should be"),
        ("chr1\t-1\t6\n", DataError, "line 1: a BED line should be"),
        ("chr1\tx\t6\n", DataError, "line 1: a BED line should be"),
        ("chr1\t5\t6\nchr2\t5\t201\n", DataError, "line 2: it ends at 201, beyond chr2, which is 200 bp long"),
        ("chr7\t5\t6\n", ChromosomesDoNotFit, "no data on any chromosome of here"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, error: type[Exception], why: str) -> None:
    (tmp_path / "in.bed").write_text(text)
    with pytest.raises(error, match=why):
        Regions.read(tmp_path / "in.bed", HERE)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is missing"):
        Regions.read(tmp_path / "in.bed", HERE)


def test_an_empty_file_is_an_empty_set(tmp_path: Path) -> None:
    (tmp_path / "in.bed").write_text("\n")
    regions = Regions.read(tmp_path / "in.bed", HERE)
    assert len(regions) == 0 and not regions.touches(Locus("chr1", 0, 1000))


@pytest.mark.realdata
def test_real_folds(real_data: Path) -> None:
    hg38 = known_assembly("hg38")
    folds = Regions.read(real_data / "hg38" / "folds.bed", hg38)
    assert len(folds) == 65
    assert sum(folds.overlap(Locus(chrom, 0, size)) for chrom, size in hg38.chromsizes.items()) == 65 * 131_072
    assert folds.names(Locus("chr1", 1_863_940, 1_863_941)) == ("valid",)
    assert folds.names(Locus("chr1", 1_863_939, 1_863_940)) == ()
