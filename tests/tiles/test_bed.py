"""A tile of a BED holds exactly what lies on its place, against a slow reading of the same text."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackserver.errors import BadTileId, ChromosomesDoNotFit, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.tiles import bed
from trackserver.tiles.bed import COLUMNS_BY_FORMAT, MAX_ENTRIES_PER_TILE, BedTileset, check_bed, read_bed
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*lines: str, name: str = "x.bed", end: str = "\n") -> Path:
        (tmp_path / name).write_bytes("".join(line + end for line in lines).encode())
        return tmp_path / name

    return written


def entries(path: Path, assembly: Assembly, zoom: int = 0, x: int = 0) -> list[dict[str, Any]]:
    found = BedTileset(path, Grid(assembly), "b").tile(TileId("b", zoom, x))
    json.dumps(found, allow_nan=False)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 999))
def test_a_tile_is_what_overlaps_it(data: st.DataObject, seed: int, tmp_path: Path) -> None:
    """Random chromosomes, rows in any order, none and all of them on joins; the slow way looks at each row."""
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=5))
    assembly = Assembly("r", tuple(f"c{i}" for i in range(len(sizes))), tuple(sizes))
    place = st.integers(0, len(sizes) - 1).flatmap(
        lambda i: st.tuples(st.just(i), st.integers(0, sizes[i]), st.integers(0, sizes[i]))
    )
    rows = [(f"c{i}", min(a, b), max(a, b)) for i, a, b in data.draw(st.lists(place, max_size=60, min_size=1))]
    path = tmp_path / "r.bed"
    path.write_text("".join(f"{chrom}\t{start}\t{end}\tn{i}\n" for i, (chrom, start, end) in enumerate(rows)))
    grid = Grid(assembly)
    zoom = data.draw(st.integers(0, grid.max_zoom))
    x = data.draw(st.integers(0, (1 << zoom) - 1))
    low, high = int(grid.edges(zoom, x)[0]), int(grid.edges(zoom, x)[-1])
    expected = {
        f"n{i}"
        for i, (chrom, start, end) in enumerate(rows)
        if (at := assembly.offsets[chrom] + start) < high and max(assembly.offsets[chrom] + end, at + 1) > low
    }
    found = entries(path, assembly, zoom, x)
    assert {entry["name"] for entry in found} == expected
    assert len({entry["uid"] for entry in found}) == len(found)
    for entry in found:
        chrom, start, end = rows[int(entry["name"][1:])]
        assert (entry["xStart"], entry["xEnd"]) == (assembly.absolute(chrom, start), assembly.absolute(chrom, end))
        assert entry["fields"][:3] == [chrom, str(start), str(end)]
        assert entry["chrOffset"] == assembly.offsets[chrom]


@pytest.mark.parametrize("pack", [gzip.compress, lambda text: gzip.compress(text[:40]) + gzip.compress(text[40:])])
def test_packed_or_not_tabs_or_spaces_all_read_alike(
    pack: Callable[[bytes], bytes], write: Write, tmp_path: Path, assembly: Assembly
) -> None:
    """A bgzip file is gzip in pieces; the last line may lack its end."""
    lines = [
        "browser position chr7:127471196-127495720",
        'track name="x" description="chrA 5 9"',
        "#chrom start end",
        "",
        "chrB\t5000\t9000\tsecond\t3\t-",
        "A\t100\t200\tfirst\t7\t+",
    ]
    plain = entries(write(*lines), assembly)
    assert [(e["name"], e["xStart"], e["strand"], e["importance"]) for e in plain] == [
        ("first", 100, "+", 7.0),
        ("second", 75_000, "-", 3.0),
    ]
    assert plain[0]["fields"] == ["chrA", "100", "200", "first", "7", "+"]
    text = "\n".join(lines).encode()
    (tmp_path / "x.bed.gz").write_bytes(pack(text))
    assert entries(tmp_path / "x.bed.gz", assembly) == plain
    for other in (write(*lines, end="\r\n"), write(*(line.replace("\t", "   ") for line in lines))):
        assert [entry["fields"] for entry in entries(other, assembly)] == [entry["fields"] for entry in plain]


def test_three_columns_are_enough(write: Write, assembly: Assembly) -> None:
    (short, long) = entries(write("chrA\t5\t6", "chrA\t10\t1000"), assembly)
    assert (short["name"], short["strand"], short["importance"], long["importance"]) == ("", ".", 1.0, 990.0)


@pytest.mark.parametrize(
    ("scores", "importances"),
    [(["0.25", ".", "1e3"], [0.25, 1e-9, 1000.0]), (["0", "0", "0"], [10.0, 20.0, 30.0]), (["nan", "5", "-2"], None)],
)
def test_scores_where_they_differ_else_lengths(
    scores: list[str], importances: list[float] | None, write: Write, assembly: Assembly
) -> None:
    """Never 0: the client would put a random number in its place."""
    lines = [f"chrA\t{i}\t{i + 10 * (i + 1)}\tn\t{score}" for i, score in enumerate(scores)]
    found = [entry["importance"] for entry in entries(write(*lines), assembly)]
    assert found == (importances or [1e-9, 5.0, -2.0])


def test_a_crowded_tile_keeps_the_important_and_the_same_everywhere(write: Write, assembly: Assembly) -> None:
    lines = [f"chrA\t{i * 20}\t{i * 20 + 10}\tn{i}\t{i * 7919 % 500}" for i in range(3000)]
    path = write(*lines)
    grid, tileset = Grid(assembly), BedTileset(path, Grid(assembly), "b")
    ranked = sorted(range(3000), key=lambda i: (-(i * 7919 % 500), i))
    for zoom in (0, 2):
        high = int(grid.edges(zoom, 0)[-1])
        expected = [i for i in ranked if i * 20 < high][:MAX_ENTRIES_PER_TILE]
        found = tileset.tile(TileId("b", zoom, 0))
        assert [entry["name"] for entry in found] == [f"n{i}" for i in sorted(expected)]


def test_text_longer_than_a_piece(write: Write, assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"chrA\t{i * 20}\t{i * 20 + 10}\tname-{i}\t{i % 9}\t-" for i in range(3000)]
    whole = entries(write(*lines), assembly, 6, 1)
    monkeypatch.setattr(bed, "PIECE_BYTES", 100)
    assert [e["fields"] for e in entries(write(*lines), assembly, 6, 1)] == [e["fields"] for e in whole]
    with pytest.raises(UnreadableFile, match="a line of more than 100 bytes"):
        entries(write("chrA\t1\t2\t" + "x" * 300), assembly)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("chrA\t5", "line 4: it should have chromosome, start and end"),
        ("chrA", "line 4: it should have chromosome, start and end"),
        ("chrA\tfive\t9", "line 4: it should have chromosome, start and end"),
        ("chrA\t-5\t9", "line 4: it should have chromosome, start and end"),
        ("chrA\t5\t9.5", "line 4: it should have chromosome, start and end"),
        ("chrA\t5\t99999999999999", "line 4: it should have chromosome, start and end"),
        ("chrA\t9\t5", "line 4: it ends before it starts"),
        ("chrA\t5\t70001", "line 4: it ends beyond its chromosome in tiny; was it made with another assembly"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line: str, told: str, write: Write, assembly: Assembly) -> None:
    path = write("# head", "chrA\t1\t2", "chrUn\t1\t2", line, "chrA\t1\t2")
    with pytest.raises(UnreadableFile, match=f"x.bed, {told}"):
        check_bed(path, assembly)


def test_other_chromosomes_are_left_out_and_counted(
    write: Write, assembly: Assembly, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("chrUn_1\t5\t999999", "chrA\t5\t9", "chrUn_2\t1\t2", "chrUn_1\t1\t2")
    with caplog.at_level(logging.WARNING):
        check_bed(path, assembly)
    assert "x.bed: 3 lines are left out, because tiny lacks their chromosomes (chrUn_1, chrUn_2)." in caplog.text
    assert len(entries(path, assembly)) == 1
    with pytest.raises(
        ChromosomesDoNotFit, match="no data on any chromosome of tiny: the file has chr1; tiny has chrA"
    ):
        check_bed(write("chr1\t5\t9"), assembly)


def test_too_many_lines_are_told_to_be_a_bigbed(
    write: Write, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bed, "MAX_ROWS", 5)
    with pytest.raises(UnreadableFile, match=r"more than 5 lines, too many to hold in memory; sort it .* bedToBigBed"):
        check_bed(write(*["chrA\t5\t9"] * 6), assembly)


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_a_bed_without_lines_is_refused(text: str, tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "x.bed").write_text(text)
    with pytest.raises(UnreadableFile, match=r"x.bed has no intervals"):
        check_bed(tmp_path / "x.bed", assembly)


def test_what_is_no_bed(tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "x.bed.gz").write_bytes(gzip.compress(b"chrA\t5\t9\n" * 1000)[:-10])
    with pytest.raises(UnreadableFile, match=r"x.bed.gz is damaged or truncated"):
        check_bed(tmp_path / "x.bed.gz", assembly)
    with pytest.raises(UnreadableFile, match=r"none.bed is missing"):
        check_bed(tmp_path / "none.bed", assembly)
    (tmp_path / "x.bed").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(UnreadableFile, match=r"x.bed, line 1: it should have chromosome, start and end"):
        check_bed(tmp_path / "x.bed", assembly)


@pytest.mark.parametrize(
    ("name", "n_columns", "header"),
    [
        ("x.narrowPeak", 10, "chrom start end name score strand signalValue pValue qValue peak"),
        ("x.broadPeak.gz", 9, "chrom start end name score strand signalValue pValue qValue"),
        ("x.gappedPeak", 15, f"{COLUMNS_BY_FORMAT['bed']} signalValue pValue qValue"),
        ("x.bed", 4, "chrom start end name"),
    ],
)
def test_info_names_the_columns(name: str, n_columns: int, header: str, write: Write, assembly: Assembly) -> None:
    path = write("\t".join(["chrA", "5", "9", *["1"] * (n_columns - 3)]), name=name)
    info = BedTileset(path, Grid(assembly), "Peaks").info()
    assert (info["datatype"], info["header"].split("\t"), info["tile_size"]) == ("bedlike", header.split(), TILE_SIZE)
    assert info["max_pos"] == [assembly.length]


def test_tiles_off_the_pyramid(write: Write, assembly: Assembly) -> None:
    tileset = BedTileset(write("chrA\t5\t9"), Grid(assembly), "b")
    assert tileset.tile(TileId("b", 3, 7)) == []
    with pytest.raises(BadTileId):
        tileset.tile(TileId("b", 3, 8))


def test_rows_are_read_once_for_all(write: Write, assembly: Assembly) -> None:
    found = read_bed(write("chrB\t1\t2", "chrA\t5\t9"), assembly)
    assert found.intervals.starts.tolist() == [5, 70_001]
    assert found.n_columns == 3
