"""A pixel of a heatmap is the contact of the bins that hold its middle, against the cooler library's own matrix."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cooler
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trackserver.errors import BadTileId, ChromosomesDoNotFit, FileChanged, InvalidRequest, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.sources.cache import ByteCache
from trackserver.tiles.grid import Grid
from trackserver.tiles.hdf5 import runs
from trackserver.tiles.matrix import TILE_BINS, MatrixTileset, check_matrix
from trackserver.tiles.tileset import TileId, parse_tile_id
from trackserver.tiles.wire import decode_dense

# The last bins of chromosomes are cut short at every resolution; chrD is shorter than a bin.
ASSEMBLY = Assembly("maps", ("chr1", "chr2", "chr3", "chrD"), (40_000, 9_999, 23_456, 30))
WIDTHS = (100, 200, 1000)


def write_cooler(
    path: Path, chromsizes: dict[str, int], widths: Sequence[int] = WIDTHS, symmetric: bool = True, seed: int = 0
) -> Path:
    """A random .mcool with cooler's and Juicer's weights, some bins masked."""
    rng = np.random.default_rng(seed)
    for width in widths:
        bins = cooler.binnify(pd.Series(chromsizes), width)
        n = len(bins)
        for name in ("weight", "KR"):
            bins[name] = rng.lognormal(size=n)
            bins.loc[rng.random(n) < 0.05, name] = np.nan
        pairs = rng.integers(0, n, (6 * n, 2))
        if symmetric:
            pairs.sort(axis=1)
        pairs = np.unique(pairs, axis=0)
        pixels = pd.DataFrame(
            {"bin1_id": pairs[:, 0], "bin2_id": pairs[:, 1], "count": rng.integers(1, 100, len(pairs))}
        )
        uri = f"{path}::resolutions/{width}"
        cooler.create_cooler(uri, bins, pixels, symmetric_upper=symmetric, triucheck=symmetric, mode="a", ordered=True)
    return path


def slow_tile(path: Path, assembly: Assembly, width: int, x: int, y: int, balance: str | bool) -> NDArray[np.float64]:
    """Every pixel by looking up the bins of its two middle bases."""
    clr = cooler.Cooler(f"{path}::resolutions/{width}")
    matrix = clr.matrix(balance=balance)[:]
    bins = clr.bins()[:]
    starts = {str(chrom): int(rows.index[0]) for chrom, rows in bins.groupby("chrom", observed=True)}

    def bin_at(position: int) -> int:
        for segment in assembly.segments(position, position + 1):
            names = (segment.locus.chrom, segment.locus.chrom.removeprefix("chr"))
            return next((starts[name] + segment.locus.start // width for name in names if name in starts), -1)
        return -1

    across, down = (
        np.array([bin_at((place * TILE_BINS + i) * width + width // 2) for i in range(TILE_BINS)]) for place in (x, y)
    )
    tile = matrix[np.ix_(across, down)].T.astype(float)
    tile[down < 0], tile[:, across < 0] = np.nan, np.nan
    return tile


def tile_of(tileset: MatrixTileset, text: str) -> NDArray[np.float32]:
    payload = tileset.tile(parse_tile_id(text))
    assert payload["shape"] == [TILE_BINS, TILE_BINS]
    assert payload["dtype"] == "float32"
    return decode_dense(payload).reshape(TILE_BINS, TILE_BINS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coolers")


@pytest.fixture(scope="module")
def usual(folder: Path) -> Path:
    return write_cooler(folder / "usual.mcool", ASSEMBLY.chromsizes)


@pytest.fixture(scope="module")
def other_order(folder: Path) -> Path:
    """Chromosomes in another order, named otherwise, one of them lacking, one that the assembly has not."""
    return write_cooler(folder / "other.mcool", {"3": 23_456, "Un": 5_000, "1": 40_000, "D": 30}, seed=1)


@pytest.mark.parametrize("transform", ["default", "weight", "None", "KR"])
@pytest.mark.parametrize("which", ["usual", "other_order"])
def test_every_tile_is_what_the_library_reads(which: str, transform: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    balance = {"default": True, "weight": True, "None": False, "KR": "KR"}[transform]
    for zoom, width in enumerate(sorted(WIDTHS, reverse=True)):
        for x, y in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 2)):
            got = tile_of(tileset, f"m.{zoom}.{x}.{y}.{transform}")
            expected = slow_tile(path, ASSEMBLY, width, x, y, balance)
            np.testing.assert_allclose(got, expected, rtol=1e-5, err_msg=f"{width} bp, tile {x}, {y}")


def test_a_matrix_that_is_not_symmetric_keeps_its_sides(folder: Path) -> None:
    path = write_cooler(folder / "square.mcool", ASSEMBLY.chromsizes, (200,), symmetric=False)
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    assert tileset.info()["mirror_tiles"] == "false"
    for x, y in ((0, 0), (0, 1), (1, 0)):
        expected = slow_tile(path, ASSEMBLY, 200, x, y, False)
        np.testing.assert_array_equal(tile_of(tileset, f"m.0.{x}.{y}.none"), expected)


def test_nothing_measured_is_blank_and_no_contact_is_zero(usual: Path) -> None:
    tile = tile_of(MatrixTileset(usual, Grid(ASSEMBLY), "map"), "m.0.0.0.none")
    n_bins = ASSEMBLY.length // 1000
    assert np.isfinite(tile[:n_bins, :n_bins]).all()
    assert (tile[:n_bins, :n_bins] == 0).any()
    assert np.isnan(tile[n_bins + 1 :]).all()
    assert np.isnan(tile[:, n_bins + 1 :]).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 500), min_size=1, max_size=8), width=st.integers(1, 64), begin=st.integers(0, 60))
def test_bins_are_drawn_within_half_a_bin_of_their_place(sizes: list[int], width: int, begin: int) -> None:
    assembly = Assembly("r", tuple(f"c{i}" for i in range(len(sizes))), tuple(sizes))
    drawn = {}
    for run in runs(assembly, width, begin, 20):
        for i in range(run.n_bins):
            place, start = begin + run.tile_bin + i, assembly.absolute(run.chrom, (run.first + i) * width)
            assert abs(place * width - start) <= width / 2
            assert start <= place * width + width // 2 < min(start + width, assembly.absolute(run.chrom, 0) + 500)
            drawn[place] = run.chrom
    held = [p for p in range(begin, begin + 20) if p * width + width // 2 < assembly.length]
    assert sorted(drawn) == held


def test_info_lists_resolutions_and_normalisations(usual: Path) -> None:
    info = MatrixTileset(usual, Grid(ASSEMBLY), "map").info()
    assert info["resolutions"] == [1000, 200, 100]
    assert info["transforms"] == [{"name": "ICE", "value": "weight"}, {"name": "KR", "value": "KR"}]
    assert (info["max_pos"], info["bins_per_dimension"]) == ([ASSEMBLY.length] * 2, TILE_BINS)
    assert "max_width" not in info
    assert "mirror_tiles" not in info


def test_a_pyramid_of_old_keeps_its_zoom_levels(usual: Path, folder: Path) -> None:
    path = folder / "old.mcool"
    with h5py.File(usual) as new, h5py.File(path, "w") as old:
        old.attrs["max-zoom"] = 1
        for zoom, width in enumerate((200, 100)):
            new.copy(f"resolutions/{width}", old, str(zoom))
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    info = tileset.info()
    assert (info["max_zoom"], info["max_width"]) == (1, 200 * TILE_BINS)
    assert "resolutions" not in info
    newer = MatrixTileset(usual, Grid(ASSEMBLY), "map")
    np.testing.assert_array_equal(tile_of(tileset, "m.1.0.1"), tile_of(newer, "m.2.0.1"))
    check_matrix(path, ASSEMBLY)


def test_without_weights_the_default_is_counts(folder: Path) -> None:
    path = write_cooler(folder / "raw.mcool", ASSEMBLY.chromsizes, (1000,))
    with h5py.File(path, "r+") as file:
        del file["resolutions/1000/bins/weight"]
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    np.testing.assert_array_equal(tile_of(tileset, "m.0.0.0"), tile_of(tileset, "m.0.0.0.none"))
    with pytest.raises(InvalidRequest, match="no balancing weights 'weight'; it has default, none, KR"):
        tileset.tile(parse_tile_id("m.0.0.0.weight"))


def test_weights_say_whether_they_divide(folder: Path) -> None:
    """What `cooler balance --name` writes is known by its attributes."""
    path = write_cooler(folder / "named.mcool", ASSEMBLY.chromsizes, (1000,))
    with h5py.File(path, "r+") as file:
        bins = file["resolutions/1000/bins"]
        bins["mine"] = 1 / bins["weight"][:]
        bins["mine"].attrs.update({"mad_max": 5, "divisive_weights": True})
        bins["gc"] = np.zeros(len(bins["start"]))
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    assert tileset.transforms == ["weight", "KR", "mine"]
    np.testing.assert_allclose(tile_of(tileset, "m.0.0.0.mine"), tile_of(tileset, "m.0.0.0"), rtol=1e-6)


def test_tiles_past_the_end_are_blank_and_off_the_file_refused(usual: Path) -> None:
    tileset = MatrixTileset(usual, Grid(ASSEMBLY), "map")
    assert np.isnan(tile_of(tileset, "m.0.7.9")).all()
    assert np.isnan(tile_of(tileset, "m.0.0.9")).all()
    for tile in (TileId("m", 0, 0), TileId("m", 3, 0, 0)):
        with pytest.raises(BadTileId):
            tileset.tile(tile)


def test_a_map_on_the_assembly_passes(usual: Path, other_order: Path) -> None:
    check_matrix(usual, ASSEMBLY)
    check_matrix(other_order, ASSEMBLY)


def test_a_single_resolution_is_told_what_to_do(usual: Path, tmp_path: Path) -> None:
    with h5py.File(usual) as many, h5py.File(tmp_path / "one.cool", "w") as one:
        for name in ("bins", "chroms", "indexes", "pixels"):
            many.copy(f"resolutions/1000/{name}", one)
        one.attrs.update(many["resolutions/1000"].attrs)
    with pytest.raises(UnreadableFile, match=r"cooler zoomify --balance one.cool` and add the .mcool"):
        check_matrix(tmp_path / "one.cool", ASSEMBLY)


def test_maps_of_another_assembly_are_refused(usual: Path) -> None:
    with pytest.raises(ChromosomesDoNotFit, match="its chr1 is 40,000 bp long, but in other it is 40,001"):
        check_matrix(usual, Assembly("other", ("chr1",), (40_001,)))
    with pytest.raises(ChromosomesDoNotFit, match="has no chromosome of yeast: the file has chr1, chr2"):
        check_matrix(usual, Assembly("yeast", ("chrI",), (40_001,)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_maps_are_found(usual: Path, tmp_path: Path, share: float) -> None:
    whole = usual.read_bytes()
    (tmp_path / "cut.mcool").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableFile, match=r"cut.mcool cannot be read as HDF5"):
        check_matrix(tmp_path / "cut.mcool", ASSEMBLY)


def test_what_is_no_map(tmp_path: Path, usual: Path) -> None:
    with pytest.raises(UnreadableFile, match="is missing"):
        check_matrix(tmp_path / "none.mcool", ASSEMBLY)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(UnreadableFile, match="not a multi-resolution cooler: it contains weights"):
        check_matrix(tmp_path / "other.h5", ASSEMBLY)
    shutil.copy(usual, tmp_path / "half.mcool")
    with h5py.File(tmp_path / "half.mcool", "r+") as file:
        del file["resolutions/200/pixels/count"]
    with pytest.raises(UnreadableFile, match="damaged or incomplete"):
        check_matrix(tmp_path / "half.mcool", ASSEMBLY)
    with h5py.File(tmp_path / "half.mcool", "r+") as file:
        file["resolutions/200/pixels/count"] = [1]
    with pytest.raises(UnreadableFile, match="incomplete at 200 bp"):
        check_matrix(tmp_path / "half.mcool", ASSEMBLY)
    with h5py.File(tmp_path / "half.mcool", "r+") as file:
        file["resolutions/200"].attrs["bin-type"] = "variable"
    with pytest.raises(UnreadableFile, match="unequal length"):
        check_matrix(tmp_path / "half.mcool", ASSEMBLY)


def test_damaged_pixels_are_this_tiles_error(usual: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.mcool"
    shutil.copy(usual, path)
    with h5py.File(path) as file:
        info = file["resolutions/100/pixels/count"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset)
        raw.write(b"\0" * info.size)
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    with pytest.raises(UnreadableFile, match=r"bad.mcool is damaged"):
        tileset.tile(parse_tile_id("m.2.0.0"))
    assert tile_of(tileset, "m.0.0.0").any()


def test_a_map_replaced_is_served_as_it_was_and_one_written_to_is_refused(usual: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.mcool"
    shutil.copy(usual, path)
    tileset = MatrixTileset(path, Grid(ASSEMBLY), "map")
    before = tile_of(tileset, "m.0.0.0")
    shutil.copy(usual, tmp_path / "new")
    (tmp_path / "new").replace(path)
    np.testing.assert_array_equal(tile_of(tileset, "m.0.0.0"), before)
    fresh = MatrixTileset(path, Grid(ASSEMBLY), "map")
    with h5py.File(path, "r+") as file:
        file["resolutions/200/bins/KR"][:] = 1
    with pytest.raises(FileChanged):
        fresh.tile(parse_tile_id("m.0.0.0"))


def test_several_threads_read_one_map(usual: Path) -> None:
    ids = [f"m.{zoom}.{x}.{y}" for zoom in range(3) for x in range(3) for y in range(3)] * 4
    one = MatrixTileset(usual, Grid(ASSEMBLY), "map")
    expected = [one.tile(parse_tile_id(text)) for text in ids]
    many = MatrixTileset(usual, Grid(ASSEMBLY), "map", ByteCache(0))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: many.tile(parse_tile_id(text)), ids)) == expected


@pytest.mark.realdata
def test_a_real_map(real_data: Path, tmp_path: Path) -> None:
    """A plain .cool of 2016, of the first format, made a map of one resolution."""
    from trackserver.genome import assembly as assemblies

    plain = real_data / "hg19" / "hg19.GM12878-MboI.2000kb.cool"
    hg19 = assemblies.known_assembly("hg19")
    with pytest.raises(UnreadableFile, match="cooler zoomify"):
        check_matrix(plain, hg19)
    with h5py.File(plain) as one, h5py.File(tmp_path / "gm.mcool", "w") as many:
        one.copy(one, many.create_group("resolutions"), "2000000")
    check_matrix(tmp_path / "gm.mcool", hg19)
    tileset = MatrixTileset(tmp_path / "gm.mcool", Grid(hg19), "GM12878")
    for x, y in ((0, 0), (1, 4), (6, 6)):
        got = tile_of(tileset, f"m.0.{x}.{y}")
        np.testing.assert_array_equal(got, slow_tile(tmp_path / "gm.mcool", hg19, 2_000_000, x, y, False))
