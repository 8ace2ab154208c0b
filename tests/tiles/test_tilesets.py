from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CHROMSIZES, write_signal
from tests.tolerance import STORED
from trackserver.bbi.bigwig import check_bigwig
from trackserver.errors import BadTileId, ChromosomesDoNotFit, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import read_refgene
from trackserver.genome.locus import Locus
from trackserver.tiles import wire
from trackserver.tiles.annotation import MAX_GENES_PER_TILE, ChromSizesTileset, GenesTileset
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.bins import ArrayTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId, parse_tile_id


def test_tile_ids() -> None:
    assert parse_tile_id("k562-a_b.12.845") == TileId("k562-a_b", 12, 845)
    assert str(TileId("k", 1, 2)) == "k.1.2"


@pytest.mark.parametrize(
    "text", ["", "a", "a.1", "a.1.2.3.4", "a.x.2", "a.-1.2", "a b.1.2", "a.1.99999999999", "../a.1.2"]
)
def test_malformed_tile_ids(text: str) -> None:
    with pytest.raises(BadTileId, match="is not a tile id"):
        parse_tile_id(text)


@pytest.mark.parametrize(("zoom", "x"), [(99, 0), (0, 1), (3, 8)])
def test_tiles_off_the_pyramid(files: Path, assembly: Assembly, zoom: int, x: int) -> None:
    with pytest.raises(BadTileId):
        BigWigTileset(files / "signal.bw", Grid(assembly), "s").tile(TileId("s", zoom, x))


def test_a_tile_past_the_genomes_end_is_empty(files: Path, assembly: Assembly) -> None:
    grid = Grid(assembly)
    last = TileId("s", grid.max_zoom, (1 << grid.max_zoom) - 1)
    got = wire.decode_dense(BigWigTileset(files / "signal.bw", grid, "s").tile(last))
    assert len(got) == TILE_SIZE
    assert np.isnan(got).all()


def test_the_wire_is_strict_json_and_lossless_float32() -> None:
    values = np.array([0.1, np.nan, 1e-30, 7e4, np.inf], np.float32)
    payload = json.loads(json.dumps(wire.dense(values), allow_nan=False))
    np.testing.assert_array_equal(wire.decode_dense(payload), values)
    assert payload["max_value"] == 7e4
    empty = json.loads(json.dumps(wire.dense(np.full(4, np.nan)), allow_nan=False))
    assert empty["min_value"] is None


@pytest.mark.parametrize(("begins", "origin"), [(96, 96), (0, -20)])
def test_an_effects_array_lies_where_it_belongs(assembly: Assembly, begins: int, origin: int) -> None:
    """Bins of 32 bp on chrB, the last one cut by the locus; exact at every zoom, nothing outside.

    Also where the first bin hangs over the chromosome's start, onto a neighbour in the browser.
    """
    grid = Grid(assembly)
    locus = Locus("chrB", begins, origin + 32 * 9 + 5)
    values = np.arange(1, 11, dtype=np.float32)
    bases = np.full(assembly.length, np.nan)
    start = assembly.absolute("chrB", locus.start)
    bases[start : start + len(locus)] = np.repeat(values, 32)[begins - origin :][: len(locus)]
    tileset = ArrayTileset(values, locus, origin, 32, grid, "Δ")
    for zoom in range(grid.max_zoom + 1):
        edges = grid.edges(zoom, x := start // (TILE_SIZE * grid.bin_width(zoom)))
        got = wire.decode_dense(tileset.tile(TileId("d", zoom, x)))
        for number in range(TILE_SIZE):
            held = bases[edges[number] : edges[number + 1]]
            expected = np.nanmean(held) if np.isfinite(held).any() else np.nan
            np.testing.assert_allclose(got[number], expected, rtol=STORED)


def test_gene_tiles_hold_fourteen_fields_and_absolute_positions(files: Path, assembly: Assembly) -> None:
    tileset = GenesTileset(read_refgene(files / "refGene.txt", assembly), Grid(assembly), "genes")
    tile = tileset.tile(TileId("g", 0, 0))
    beta = next(entry for entry in tile if entry["name"] == "BETA")
    assert len(beta["fields"]) == 14
    assert beta["fields"][:4] == ["chrB", "5000", "9000", "BETA"]
    assert (beta["xStart"], beta["xEnd"]) == (75_000, 79_000)
    assert [entry["name"] for entry in tile] == ["ALPHA1", "BETA", "ALPHA10"]


def test_a_crowded_gene_tile_keeps_the_important_ones(tmp_path: Path) -> None:
    from tests.conftest import refgene_line

    lines = [refgene_line(f"NM_{i}", "c", "+", 100 * i, 100 * i + 500 + i, f"G{i}") for i in range(300)]
    (tmp_path / "r.txt").write_text("".join(lines))
    crowded = Assembly("crowded", ("c",), (40_000,))
    tileset = GenesTileset(read_refgene(tmp_path / "r.txt", crowded), Grid(crowded), "genes")
    tile = tileset.tile(TileId("g", 0, 0))
    assert [entry["name"] for entry in tile] == [f"G{i}" for i in range(299, 299 - MAX_GENES_PER_TILE, -1)]


def test_info_is_what_the_client_needs(files: Path, assembly: Assembly) -> None:
    grid = Grid(assembly)
    info = BigWigTileset(files / "signal.bw", grid, "Signal").info()
    assert info["max_width"] == TILE_SIZE * 2 ** info["max_zoom"]
    assert info["chromsizes"] == [list(pair) for pair in CHROMSIZES.items()]
    assert (info["min_pos"], info["max_pos"], info["name"], info["coordSystem"]) == (
        [0],
        [assembly.length],
        "Signal",
        "tiny",
    )
    assert ChromSizesTileset(assembly).info()["datatype"] == "chromsizes"


def test_a_bigwig_without_chr_names_fits(tmp_path: Path, files: Path, assembly: Assembly) -> None:
    write_signal(tmp_path / "bare.bw", {chrom.removeprefix("chr"): size for chrom, size in CHROMSIZES.items()})
    check_bigwig(tmp_path / "bare.bw", assembly)
    grid = Grid(assembly)
    bare, own = (
        BigWigTileset(path, grid, "s").tile(TileId("s", 0, 0)) for path in (tmp_path / "bare.bw", files / "signal.bw")
    )
    assert bare == own


def test_bigwigs_of_another_assembly_are_refused(tmp_path: Path, assembly: Assembly) -> None:
    write_signal(tmp_path / "other.bw", {"chr1": 70_000})
    with pytest.raises(ChromosomesDoNotFit, match=r"has no chromosome of tiny: the file has chr1; tiny has chrA"):
        check_bigwig(tmp_path / "other.bw", assembly)
    write_signal(tmp_path / "longer.bw", CHROMSIZES | {"chrA": 70_001})
    with pytest.raises(ChromosomesDoNotFit, match=r"its chrA is 70,001 bp long, but in tiny it is 70,000"):
        check_bigwig(tmp_path / "longer.bw", assembly)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_truncated_bigwigs_are_found(files: Path, tmp_path: Path, assembly: Assembly, share: float) -> None:
    whole = (files / "signal.bw").read_bytes()
    (tmp_path / "cut.bw").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableFile, match=r"cut.bw"):
        check_bigwig(tmp_path / "cut.bw", assembly)


def test_what_is_no_bigwig(tmp_path: Path, assembly: Assembly) -> None:
    (tmp_path / "text.bw").write_text("hello")
    with pytest.raises(UnreadableFile, match=r"neither a bigWig nor a bigBed|damaged"):
        check_bigwig(tmp_path / "text.bw", assembly)
    with pytest.raises(UnreadableFile, match="is missing"):
        check_bigwig(tmp_path / "none.bw", assembly)
