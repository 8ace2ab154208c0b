from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from trackserver.errors import BadTileId, ChromosomesDoNotFit, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.tiles.bins import ArrayTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.multivec import MultivecArrayTileset, MultivecTileset, check_multivec
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

ASSEMBLY = Assembly("rows", ("chr1", "chr2", "chrM"), (5_000, 1_234, 77))
WIDTHS = (1, 16, 300)
SIZE = 128


def write_multivec(path: Path, chromsizes: dict[str, int], rows: Sequence[Any] = (), n_rows: int = 3) -> Path:
    """As clodius writes one; a value says its row, resolution, chromosome and bin."""
    with h5py.File(path, "w") as file:
        file.create_group("info").attrs["tile-size"] = SIZE
        file["chroms/name"] = np.array(list(chromsizes), "S")
        file["chroms/length"] = list(chromsizes.values())
        for width in WIDTHS:
            level = file.create_group(f"resolutions/{width}")
            if rows:
                level.attrs["row_infos"] = [json.dumps(row).encode() for row in rows]
            for number, (chrom, size) in enumerate(chromsizes.items()):
                bins = np.arange(-(-size // width))[:, None] + number * 10_000
                level[f"values/{chrom}"] = (bins * 10 + np.arange(n_rows)).astype(np.float32)
    return path


def slow_tile(assembly: Assembly, chroms: Sequence[str], width: int, x: int, n_rows: int = 3) -> NDArray[np.float64]:
    tile = np.full((n_rows, SIZE), np.nan)
    for column in range(SIZE):
        middle = (x * SIZE + column) * width + width // 2
        for segment in assembly.segments(middle, middle + 1):
            chrom = segment.locus.chrom.removeprefix("chr")
            if chrom in chroms:
                held = chroms.index(chrom) * 10_000 + segment.locus.start // width
                tile[:, column] = held * 10 + np.arange(n_rows)
    return tile


@pytest.mark.parametrize("order", [["1", "2", "M"], ["M", "2", "1"], ["2", "Un"]])
def test_every_tile_holds_the_bins_of_its_place(order: list[str], tmp_path: Path) -> None:
    sizes = {name.removeprefix("chr"): size for name, size in ASSEMBLY.chromsizes.items()} | {"Un": 50}
    path = write_multivec(tmp_path / "r.mv5", {name: sizes[name] for name in order})
    check_multivec(path, ASSEMBLY)
    tileset = MultivecTileset(path, Grid(ASSEMBLY), "rows")
    for zoom, width in enumerate(sorted(WIDTHS, reverse=True)):
        for x in range(ASSEMBLY.length // (width * SIZE) + 2):
            payload = tileset.tile(TileId("r", zoom, x))
            assert payload["shape"] == [3, SIZE]
            got = decode_dense(payload).reshape(3, SIZE)
            np.testing.assert_array_equal(got, slow_tile(ASSEMBLY, order, width, x))


def test_info_of_a_file(tmp_path: Path) -> None:
    rows = [{"id": 1, "tissue": "blood"}, "plain", 3]
    path = write_multivec(tmp_path / "r.mv5", ASSEMBLY.chromsizes, rows)
    info = MultivecTileset(path, Grid(ASSEMBLY), "rows").info()
    assert info["resolutions"] == [300, 16, 1]
    assert (info["shape"], info["tile_size"], info["row_infos"]) == ([SIZE, 3], SIZE, rows)
    assert not {"max_zoom", "max_width"} & set(info)
    with h5py.File(path, "r+") as file:
        for level in file["resolutions"].values():
            del level.attrs["row_infos"]
    assert "row_infos" not in MultivecTileset(path, Grid(ASSEMBLY), "rows").info()
    with h5py.File(path, "r+") as file:
        file["info/row_infos"] = json.dumps(["a", "b", "c"])
        file["resolutions/300"].attrs["row_infos"] = ["not json", "b\u00e9", '{"x": 1}']
    assert MultivecTileset(path, Grid(ASSEMBLY), "rows").info()["row_infos"] == ["not json", "b\u00e9", {"x": 1}]
    with h5py.File(path, "r+") as file:
        del file["resolutions/300"].attrs["row_infos"]
    assert MultivecTileset(path, Grid(ASSEMBLY), "rows").info()["row_infos"] == ["a", "b", "c"]


@pytest.mark.parametrize("tile", [TileId("r", 3, 0), TileId("r", 0, 0, 0), TileId("r", 0, 0, modifier="max")])
def test_tiles_off_the_file(tile: TileId, tmp_path: Path) -> None:
    path = write_multivec(tmp_path / "r.mv5", ASSEMBLY.chromsizes)
    with pytest.raises(BadTileId):
        MultivecTileset(path, Grid(ASSEMBLY), "rows").tile(tile)


def test_what_is_no_multivec(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is missing"):
        check_multivec(tmp_path / "none.mv5", ASSEMBLY)
    (tmp_path / "text.mv5").write_text("hello")
    with pytest.raises(UnreadableFile, match="cannot be read as HDF5"):
        check_multivec(tmp_path / "text.mv5", ASSEMBLY)
    path = write_multivec(tmp_path / "r.mv5", ASSEMBLY.chromsizes)
    with pytest.raises(ChromosomesDoNotFit, match="its chr1 is 5,000 bp long, but in other it is 9"):
        check_multivec(path, Assembly("other", ("chr1",), (9,)))
    with h5py.File(path, "r+") as file:
        del file["resolutions/16/values/chr2"]
        file["resolutions/16/values/chr2"] = np.zeros((5, 3))
    with pytest.raises(UnreadableFile, match="lacks bins of chr2 at 16 bp"):
        check_multivec(path, ASSEMBLY)
    with h5py.File(path, "r+") as file:
        del file["resolutions/16/values/chr2"]
        file["resolutions/16/values/chr2"] = np.zeros((78, 2))
    with pytest.raises(UnreadableFile, match="have different numbers of rows"):
        check_multivec(path, ASSEMBLY)
    many = write_multivec(tmp_path / "many.mv5", {"chrM": 77}, n_rows=40_000)
    with pytest.raises(UnreadableFile, match="40,000 rows, too many"):
        check_multivec(many, ASSEMBLY)
    with h5py.File(path, "r+") as file:
        del file["chroms"]
    with pytest.raises(UnreadableFile, match="not a multivec: it contains info, resolutions"):
        check_multivec(path, ASSEMBLY)


def test_an_array_of_rows_is_its_rows_on_the_grid(assembly: Assembly) -> None:
    """Four alleles over a locus, some not computed; each row as a track of its own would be."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 50)).astype(np.float32)
    values[1, 7] = np.nan
    locus, grid = Locus("chrB", 100, 150), Grid(assembly)
    tileset = MultivecArrayTileset(values, "ACGT", locus, 100, 1, grid, "map")
    info = tileset.info()
    assert (info["shape"], info["row_infos"]) == ([TILE_SIZE, 4], list("ACGT"))
    assert info["resolutions"] == [grid.bin_width(zoom) for zoom in range(grid.max_zoom + 1)]
    assert info["resolutions"][-1] == 1
    for zoom in (0, grid.max_zoom - 4, grid.max_zoom):
        x = (70_000 + 100) // (TILE_SIZE * grid.bin_width(zoom))
        payload = tileset.tile(TileId("m", zoom, x))
        assert payload["shape"] == [4, TILE_SIZE]
        got = decode_dense(payload).reshape(4, TILE_SIZE)
        assert np.isfinite(got).any()
        for row, line in zip(got, values, strict=True):
            alone = ArrayTileset(line, locus, 100, 1, grid, "row").tile(TileId("r", zoom, x))
            np.testing.assert_array_equal(row, decode_dense(alone))
    with pytest.raises(BadTileId):
        tileset.tile(TileId("m", grid.max_zoom + 1, 0))
