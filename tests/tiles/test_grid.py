"""A tile's value is the mean over exactly its place, against a slow exact mean from the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tolerance import STORED
from trackserver.genome.assembly import Assembly
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

HG38_LENGTH = 3_088_286_401


def per_base(path: Path, assembly: Assembly) -> NDArray[np.float64]:
    """Every base of the assembly end to end, by another reader."""
    with pyBigWig.open(str(path)) as reader:
        parts = [
            np.array(reader.values(chrom, 0, size)) if chrom in reader.chroms() else np.full(size, np.nan)
            for chrom, size in assembly.chromsizes.items()
        ]
    return np.concatenate(parts)


def slow_means(bases: NDArray[np.float64], grid: Grid, zoom: int, x: int) -> NDArray[np.float64]:
    edges = grid.edges(zoom, x)
    means = np.full(TILE_SIZE, np.nan)
    for number in range(TILE_SIZE):
        held = bases[edges[number] : edges[number + 1]]
        known = held[np.isfinite(held)]
        means[number] = known.mean() if known.size else np.nan
    return means


@pytest.fixture(scope="module")
def bases(files: Path, assembly: Assembly) -> NDArray[np.float64]:
    return per_base(files / "signal.bw", assembly)


def test_the_pyramid_is_the_clients(assembly: Assembly) -> None:
    grid = Grid(assembly)
    assert grid.max_width == TILE_SIZE * 2**grid.max_zoom
    assert grid.max_width >= assembly.length > grid.max_width / 2
    assert grid.bin_width(grid.max_zoom) == 1
    human = Grid(Assembly("hg38", ("all",), (HG38_LENGTH,)))
    assert (human.max_zoom, human.max_width) == (22, 4_294_967_296)


def test_every_tile_of_every_zoom_is_the_exact_mean(
    files: Path, assembly: Assembly, bases: NDArray[np.float64]
) -> None:
    """The file's first zoom level is wider than half of every bin here but the coarsest, so all must be exact."""
    grid = Grid(assembly)
    tileset = BigWigTileset(files / "signal.bw", grid, "signal")
    with pyBigWig.open(str(files / "signal.bw")) as reader:
        assert reader.header()["nLevels"] > 0
    compared = 0
    for zoom in range(grid.max_zoom + 1):
        for x in range(1 << zoom):
            got = decode_dense(tileset.tile(TileId("s", zoom, x)))
            assert len(got) == TILE_SIZE
            expected = slow_means(bases, grid, zoom, x)
            np.testing.assert_allclose(got, expected, atol=STORED, rtol=STORED)
            compared += np.isfinite(expected).sum()
    assert compared > assembly.length * 1.5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), data=st.data())
def test_random_files_random_chromosomes(
    seed: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Uneven intervals, gaps, chromosomes the file lacks, and joins anywhere on the grid."""
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(1, 9_000, rng.integers(1, 6))]
    assembly = Assembly("r", tuple(f"c{i}" for i in range(len(sizes))), tuple(sizes))
    path = tmp_path_factory.mktemp("bw") / "r.bw"
    with pyBigWig.open(str(path), "w") as writer:
        held = [c for c in assembly.chroms if c == "c0" or rng.random() < 0.8]
        writer.addHeader([(chrom, assembly.chromsizes[chrom]) for chrom in held])
        for chrom in held:
            cuts = np.unique(rng.integers(0, assembly.chromsizes[chrom] + 1, 60))
            starts, ends = cuts[:-1], cuts[1:]
            kept = rng.random(len(starts)) < 0.7
            if not kept.any():
                continue
            values = rng.normal(0, 5, kept.sum()).astype(np.float32).astype(float)
            writer.addEntries(
                [chrom] * int(kept.sum()), starts[kept].tolist(), ends=ends[kept].tolist(), values=values.tolist()
            )
    grid = Grid(assembly)
    bases = per_base(path, assembly)
    with pyBigWig.open(str(path)) as reader:
        assert reader.chroms()
    import pybigtools

    first_level = min(pybigtools.open(str(path)).zooms(), default=10**9)
    zoom = data.draw(st.integers(0, grid.max_zoom))
    x = data.draw(st.integers(0, (1 << zoom) - 1))
    if grid.bin_width(zoom) < 2 * first_level:
        got = decode_dense(BigWigTileset(path, grid, "r").tile(TileId("r", zoom, x)))
        np.testing.assert_allclose(got, slow_means(bases, grid, zoom, x), atol=STORED, rtol=STORED)


def test_coarse_zooms_stay_within_the_stated_bound(tmp_path: Path) -> None:
    """From zoom summaries a mean may be off by the two summaries at the bin's edges, no more."""
    import pybigtools

    assembly = Assembly("long", ("c1", "c2"), (3_000_001, 1_234_567))
    path = tmp_path / "long.bw"
    rng = np.random.default_rng(3)
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(assembly.chromsizes.items()))
        for chrom, size in assembly.chromsizes.items():
            writer.addEntries(chrom, 0, values=rng.gamma(0.3, 3, size // 16), span=16, step=16)
    grid = Grid(assembly)
    bases = per_base(path, assembly)
    levels = pybigtools.open(str(path)).zooms()
    spread = np.nanmax(bases) - np.nanmin(bases)
    coarse = 0
    for zoom in range(4):
        width = grid.bin_width(zoom)
        level = max((level for level in levels if 2 * level <= width), default=0)
        got = decode_dense(BigWigTileset(path, grid, "l").tile(TileId("l", zoom, 0)))
        expected = slow_means(bases, grid, zoom, 0)
        assert (np.isfinite(got) == np.isfinite(expected)).all()
        bound = max(2 * level / width * spread, STORED)
        assert np.nanmax(np.abs(got - expected)) <= bound
        coarse += level > 0
    assert coarse >= 2


@pytest.mark.realdata
@pytest.mark.parametrize("zoom", [0, 3, 6, 9, 12, 14, 16, 18, 22])
def test_real_signal(real_data: Path, zoom: int) -> None:
    """One of the measured tracks, around one of its windows: exact wherever the file's first level is too coarse."""
    import pybigtools

    from trackserver.genome import assembly as assemblies

    assembly = assemblies.known_assembly("hg38")
    grid = Grid(assembly)
    path = real_data / "hg38" / "observed" / "ENCFF136DBS.bigWig"
    middle = assembly.absolute("chr9", 68_843_144 + 65_536)
    x = middle // (TILE_SIZE * grid.bin_width(zoom))
    got = decode_dense(BigWigTileset(path, grid, "e").tile(TileId("e", zoom, x)))
    assert np.isfinite(got).any()
    if grid.bin_width(zoom) >= 2 * min(pybigtools.open(str(path)).zooms()):
        return
    edges = grid.edges(zoom, x)
    offset = assembly.offsets["chr9"]
    with pyBigWig.open(str(path)) as reader:
        held = np.array(reader.values("chr9", int(edges[0]) - offset, int(edges[-1]) - offset))
    blocks = held.reshape(TILE_SIZE, -1)
    known = np.isfinite(blocks).any(axis=1)
    expected = np.full(TILE_SIZE, np.nan)
    expected[known] = np.nanmean(blocks[known], axis=1)
    np.testing.assert_allclose(got, expected, atol=STORED, rtol=STORED)
