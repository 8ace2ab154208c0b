from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackserver.errors import BadTileId, ChromosomesDoNotFit, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.sources.source import LocalSource
from trackserver.tiles import bigbed
from trackserver.tiles.bed import MAX_ENTRIES_PER_TILE, BedTileset
from trackserver.tiles.bigbed import BigBedTileset, check_bigbed
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import TileId

Row = tuple[str, int, int, str]
AUTO_SQL = """table peaks "Peaks"
(
string chrom; "Chromosome"
uint chromStart; "Start"
uint chromEnd; "End"
string name; "Name"
uint score; "Score"
char[1] strand; "Strand"
)"""


def write_bigbed(path: Path, chromsizes: dict[str, int], rows: list[Row], auto_sql: str | None = AUTO_SQL) -> Path:
    pybigtools.open(str(path), "w").write(chromsizes, sorted(rows), auto_sql)
    return path


def random_rows(chromsizes: dict[str, int], count: int, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for chrom, size in chromsizes.items():
        starts = rng.integers(0, size, count)
        ends = np.minimum(starts + rng.integers(1, 2 + size // 20, count), size)
        rows += [(chrom, s, e, f"{chrom}{i}\t{i * 7919 % 1000}\t{'+-.'[i % 3]}")
                 for i, (s, e) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))]  # fmt: skip
    return sorted(rows)


@pytest.fixture(scope="module")
def rows(assembly: Assembly) -> list[Row]:
    return random_rows(assembly.chromsizes, 4000)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory, assembly: Assembly, rows: list[Row]) -> Path:
    return write_bigbed(tmp_path_factory.mktemp("bb") / "peaks.bb", assembly.chromsizes, rows)


def without_uids(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "uid"} for entry in entries]


def test_every_tile_is_that_of_the_same_bed(peaks: Path, rows: list[Row], assembly: Assembly, tmp_path: Path) -> None:
    (tmp_path / "peaks.bed").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    grid = Grid(assembly)
    packed, plain = BigBedTileset(peaks, grid, "p"), BedTileset(tmp_path / "peaks.bed", grid, "p")
    for zoom in range(grid.max_zoom + 1):
        for x in range(1 << zoom):
            found, expected = (tileset.tile(TileId("p", zoom, x)) for tileset in (packed, plain))
            assert len(found) <= MAX_ENTRIES_PER_TILE
            scores = [sorted(entry["importance"] for entry in entries) for entries in (found, expected)]
            assert scores[0] == scores[1]
            if len(expected) < MAX_ENTRIES_PER_TILE:
                key = lambda entry: (entry["xStart"], entry["name"])  # noqa: E731
                assert sorted(without_uids(found), key=key) == sorted(without_uids(expected), key=key)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 99))
def test_random_chromosomes_and_joins(data: st.DataObject, seed: int, tmp_path: Path) -> None:
    sizes = data.draw(st.lists(st.integers(2, 4000), min_size=1, max_size=5))
    assembly = Assembly("r", tuple(f"c{i}" for i in range(len(sizes))), tuple(sizes))
    rows = random_rows(assembly.chromsizes, data.draw(st.integers(1, 30)), seed)
    held = data.draw(st.sets(st.sampled_from(assembly.chroms), min_size=1))
    rows = [row for row in rows if row[0] in held]
    path = write_bigbed(tmp_path / "r.bb", {f"{chrom}": assembly.chromsizes[chrom] for chrom in sorted(held)}, rows)
    grid = Grid(assembly)
    zoom = data.draw(st.integers(0, grid.max_zoom))
    x = data.draw(st.integers(0, (1 << zoom) - 1))
    low, high = int(grid.edges(zoom, x)[0]), int(grid.edges(zoom, x)[-1])
    expected = sorted(
        (assembly.absolute(chrom, start), assembly.absolute(chrom, 0) + end, rest.split("\t")[0])
        for chrom, start, end, rest in rows
        if assembly.offsets[chrom] + start < high and assembly.offsets[chrom] + end > low
    )
    found = BigBedTileset(path, grid, "r").tile(TileId("r", zoom, x))
    assert sorted((entry["xStart"], entry["xEnd"], entry["name"]) for entry in found) == expected
    assert len({entry["uid"] for entry in found}) == len(found)


def test_a_wide_tile_is_an_even_sample(peaks: Path, assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all chromosomes something; what is shown from afar is a part of what is there."""
    monkeypatch.setattr(bigbed, "MAX_BLOCKS", 6)
    tileset = BigBedTileset(peaks, Grid(assembly), "p")
    assert tileset.bbi.n_blocks(None) == 2 * bigbed.MAX_BLOCKS
    found = tileset.tile(TileId("p", 0, 0))
    assert len(found) == MAX_ENTRIES_PER_TILE
    assert {entry["fields"][0] for entry in found} == set(assembly.chroms)
    assert tileset.tile(TileId("p", 0, 0)) == found
    blocks = {entry["uid"].split("-")[0] for entry in found}
    assert len(blocks) <= bigbed.MAX_BLOCKS
    assert all(int(number) % 2 == 0 for number in blocks)


def test_blocks_are_read_once_and_far_away_few(peaks: Path, assembly: Assembly) -> None:
    class FarSource(LocalSource):
        is_local = False
        reads = 0

        def read(self, start: int, length: int) -> bytes:
            self.reads += 1
            return super().read(start, length)

    source = FarSource(peaks)
    grid = Grid(assembly)
    tileset = BigBedTileset(source, grid, "p")
    assert tileset.tile(TileId("p", grid.max_zoom, 5))
    opened = source.reads  # header, names of chromosomes, index, and a block
    tileset.tile(TileId("p", 0, 0))
    before = source.reads
    assert before <= opened + bigbed.MAX_REMOTE_BLOCKS
    tileset.tile(TileId("p", 0, 0))
    tileset.tile(TileId("p", grid.max_zoom, 5))
    assert source.reads == before


def test_without_scores_the_long_are_important(tmp_path: Path, assembly: Assembly) -> None:
    rows = [("chrA", i * 10, i * 10 + 1 + i % 7, f"n{i}") for i in range(900)]
    path = write_bigbed(tmp_path / "l.bb", assembly.chromsizes, rows, None)
    tileset = BigBedTileset(path, Grid(assembly), "l")
    assert {entry["importance"] for entry in tileset.tile(TileId("l", 0, 0))} == {6.0, 7.0}


def test_info_names_the_columns(peaks: Path, assembly: Assembly) -> None:
    info = BigBedTileset(peaks, Grid(assembly), "Peaks").info()
    assert info["header"] == "chrom\tchromStart\tchromEnd\tname\tscore\tstrand"
    assert (info["datatype"], info["name"], info["max_pos"]) == ("bedlike", "Peaks", [assembly.length])
    with pytest.raises(BadTileId):
        BigBedTileset(peaks, Grid(assembly), "Peaks").tile(TileId("p", 99, 0))


def test_what_can_be_served_and_what_not(peaks: Path, assembly: Assembly, tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    check_bigbed(peaks, assembly, lambda done, total: reported.append((done, total)))
    assert reported[-1][0] == reported[-1][1] > 1
    with pytest.raises(ChromosomesDoNotFit, match="chrA is 70,000 bp long, but in other it is 9"):
        check_bigbed(peaks, Assembly("other", ("chrA",), (9,)))
    with pyBigWig.open(str(tmp_path / "x.bb"), "w") as writer:
        writer.addHeader([("chrA", 70_000)])
        writer.addEntries(["chrA"], [1], ends=[5], values=[1.0])
    with pytest.raises(UnreadableFile, match="is a bigWig, not a bigBed"):
        check_bigbed(tmp_path / "x.bb", assembly)
    whole = peaks.read_bytes()
    for share in (0.0, 0.02, 0.5, 0.9):
        (tmp_path / "cut.bb").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableFile, match=r"cut.bb"):
            check_bigbed(tmp_path / "cut.bb", assembly)
