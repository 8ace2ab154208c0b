"""bigWigs that are written here, against what was given, in readers of other people and by UCSC's rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.bbi.bbifile import BBIFile, Summary
from trackserver.bbi.bigwig import base_sums, check_bigwig, open_bigwig
from trackserver.bbi.write_zooms import CHUNK_BINS
from trackserver.bbi.writer import SECTION_BINS, BigWigWriter, Stretch, write_bigwig
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

Values = NDArray[np.float32]

RANDOM = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KNOWN = ("all", "most", "half", "runs", "none", "left out")


@dataclass(frozen=True)
class Signal:
    """What is written: of each chromosome its bins' number, and which of them are known."""

    bin_width: int
    counts: tuple[int, ...]
    known: tuple[str, ...]
    clipped: int = 0  # bp that each last bin lacks, where it has as many
    seed: int = 0
    scale: float = 1.0

    @cached_property
    def chromsizes(self) -> dict[str, int]:
        sizes = [count * self.bin_width - min(self.clipped, self.bin_width - 1) for count in self.counts]
        names = np.random.default_rng(self.seed).permutation(len(sizes))
        return {f"chr{name + 1}": size for name, size in zip(names.tolist(), sizes, strict=True)}

    @cached_property
    def assembly(self) -> Assembly:
        return Assembly("random", tuple(self.chromsizes), tuple(self.chromsizes.values()))

    @cached_property
    def bins(self) -> dict[str, Values]:
        rng = np.random.default_rng(self.seed)
        made = zip(self.chromsizes, self.counts, self.known, strict=True)
        return {chrom: self._bins(rng, count, known) for chrom, count, known in made}

    def _bins(self, rng: np.random.Generator, count: int, known: str) -> Values:
        values = (rng.standard_normal(count) * self.scale).astype(np.float32)
        share = {"most": 0.99, "half": 0.5, "none": 0.0, "left out": 0.0}.get(known, 1.0)
        values[rng.random(count) >= share] = np.nan
        if known == "runs":
            for start in rng.integers(0, count, 3):
                values[start : start + int(rng.integers(1, count + 1)) // 2] = np.nan
        return values

    def widths(self, chrom: str) -> NDArray[np.int64]:
        """Of each bin, in bp."""
        starts = np.arange(len(self.bins[chrom])) * self.bin_width
        return np.minimum(self.bin_width, self.chromsizes[chrom] - starts)

    def intervals(self, chrom: str) -> list[tuple[int, int, float]]:
        bins = self.bins[chrom]
        starts = np.flatnonzero(~np.isnan(bins)) * self.bin_width
        ends = np.minimum(starts + self.bin_width, self.chromsizes[chrom])
        return list(zip(starts.tolist(), ends.tolist(), bins[~np.isnan(bins)].tolist(), strict=True))


def signals() -> st.SearchStrategy[Signal]:
    counts = st.one_of(
        st.just(1),
        st.integers(1, 70),
        st.integers(1, 3 * SECTION_BINS),
        st.sampled_from([SECTION_BINS - 1, SECTION_BINS, SECTION_BINS + 1, CHUNK_BINS, CHUNK_BINS + 1]),
    )
    chromosomes = st.lists(st.tuples(counts, st.sampled_from(KNOWN)), min_size=1, max_size=5)
    return st.builds(
        lambda bin_width, chromosomes, **others: Signal(bin_width, *zip(*chromosomes, strict=True), **others),
        st.sampled_from([1, 2, 32, 128, 1_000]),
        chromosomes,
        clipped=st.integers(0, 999),
        seed=st.integers(0, 1000),
        scale=st.sampled_from([1e-30, 1.0, 1e12]),
    )


ONE_BIN = Signal(128, (1,), ("all",), clipped=100)
NOTHING = Signal(32, (1, 5_000), ("none", "left out"))
GAPS = Signal(1, (CHUNK_BINS + 9, 40, 2 * CHUNK_BINS), ("left out", "all", "runs"), seed=5)


def cut(signal: Signal, cuts: int) -> Iterator[tuple[str, int, Values]]:
    """A signal in pieces; none of a chromosome that is left out."""
    rng = np.random.default_rng(cuts)
    for (chrom, bins), known in zip(signal.bins.items(), signal.known, strict=True):
        edges = [0, *np.sort(rng.integers(0, len(bins) + 1, cuts)).tolist(), len(bins)]
        if known != "left out":
            yield from ((chrom, low * signal.bin_width, bins[low:high]) for low, high in pairwise(edges))


def write(path: Path, signal: Signal, cuts: int = 0) -> None:
    with BigWigWriter(path, signal.chromsizes, signal.bin_width) as writer:
        for piece in cut(signal, cuts):
            writer.add(*piece)


@contextmanager
def written(signal: Signal) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        write(Path(folder) / "signal.bw", signal)
        assert [path.name for path in Path(folder).iterdir()] == ["signal.bw"]
        yield Path(folder) / "signal.bw"


@RANDOM
@given(signal=signals())
@example(ONE_BIN)
@example(NOTHING)
@example(GAPS)
def test_every_reader_finds_each_bin_and_no_other(signal: Signal) -> None:
    with written(signal) as path:
        others, rules = pybigtools.open(str(path)), BBIFile(path)
        with pyBigWig.open(str(path)) as reader:
            assert reader.chroms() == others.chroms() == signal.chromsizes
            for chrom in signal.chromsizes:
                expected = signal.intervals(chrom)
                assert list(reader.intervals(chrom) or ()) == expected
                assert list(others.records(chrom)) == expected
                assert rules.intervals(chrom) == expected


@RANDOM
@given(signal=signals())
@example(ONE_BIN)
@example(NOTHING)
@example(GAPS)
def test_our_own_reader_finds_the_bins(signal: Signal) -> None:
    with written(signal) as path:
        check_bigwig(path, signal.assembly)
        ours = open_bigwig(path)
        for chrom, bins in signal.bins.items():
            covered, sums = base_sums(ours, ours.chroms[chrom], 0, len(bins), signal.bin_width)
            widths = np.where(np.isnan(bins), 0, signal.widths(chrom))
            np.testing.assert_array_equal(covered, widths)
            np.testing.assert_array_equal(sums, np.nan_to_num(bins).astype(np.float64) * widths)


@RANDOM
@given(signal=signals())
@example(ONE_BIN)
@example(NOTHING)
@example(GAPS)
def test_zoom_levels_are_exact_summaries(signal: Signal) -> None:
    """Every level of every file, read by UCSC's rules and by another reader."""
    widths = [signal.bin_width * 16 * 4**number for number in range(10)]
    with written(signal) as path:
        file, others = BBIFile(path), pybigtools.open(str(path))
        total = sum(signal.chromsizes.values())
        assert [zoom.reduction for zoom in file.zooms] == [width for width in widths if width * 256 < total]
        for zoom in file.zooms:
            n_records = 0
            for chrom in signal.chromsizes:
                found = file.summaries(zoom, chrom)
                assert_exact(found, exact(signal, chrom, zoom.reduction))
                same = [summary._asdict() for summary in found]
                for record, (start, end, other) in zip(same, others.zoom_records(zoom.reduction, chrom), strict=True):
                    assert (record["start"], record["end"]) == (start, end)
                    assert record["covered"] == other["bases_covered"]
                    assert [record[key] for key in ("low", "high", "sum", "squares")] == [
                        other[key] for key in ("min_val", "max_val", "sum", "sum_squares")
                    ]
                n_records += len(found)
            assert file.read("I", zoom.data_at) == (n_records,)


@RANDOM
@given(signal=signals())
@example(ONE_BIN)
@example(NOTHING)
@example(GAPS)
def test_the_header_says_what_the_file_holds(signal: Signal) -> None:
    whole = np.concatenate([exact(signal, chrom, 1 << 40) for chrom in signal.chromsizes])
    with written(signal) as path:
        totals = BBIFile(path).totals
        if not len(whole):
            assert totals == (0, 0, 0, 0, 0)
            return
        assert totals[:3] == (whole[:, 2].sum(), whole[:, 3].min(), whole[:, 4].max())
        assert abs(totals.sum - whole[:, 5].sum()) <= 1e-13 * whole[:, 7].sum()
        assert abs(totals.squares - whole[:, 6].sum()) <= 1e-13 * whole[:, 6].sum()
        with pyBigWig.open(str(path)) as reader:
            assert reader.header()["nBasesCovered"] == totals.covered


def exact(signal: Signal, chrom: str, width: int) -> NDArray[np.longdouble]:
    """(n, 8) for `width` bp with any bin: start, end, covered, least, greatest, sum, squares, sum of magnitudes."""
    bins, size = signal.bins[chrom].astype(np.longdouble), signal.chromsizes[chrom]
    known = ~np.isnan(bins)
    widths = np.where(known, signal.widths(chrom), 0)
    filled = np.where(known, bins, 0)
    edges = np.arange(0, size, width)
    rows = [widths, filled * widths, filled**2 * widths, abs(filled) * widths]
    covered, *sums = np.add.reduceat(np.array(rows), edges // signal.bin_width, axis=1)
    low = np.minimum.reduceat(np.where(known, bins, np.inf), edges // signal.bin_width)
    high = np.maximum.reduceat(np.where(known, bins, -np.inf), edges // signal.bin_width)
    return np.stack([edges, np.minimum(edges + width, size), covered, low, high, *sums], axis=1)[covered > 0]


def assert_exact(found: list[Summary], expected: NDArray[np.longdouble]) -> None:
    """Sums are rounded to float32 once, after they were made in float64."""
    got = np.array(found, np.longdouble).reshape(-1, 8)[:, 1:]
    np.testing.assert_array_equal(got[:, :5], expected[:, :5])
    for column, magnitude in ((5, 7), (6, 6)):
        bound = 2.0**-24 * abs(expected[:, column]) + 1e-13 * expected[:, magnitude] + 1e-45
        assert (abs(got[:, column] - expected[:, column]) <= bound).all()


@RANDOM
@given(signal=signals(), cuts=st.integers(1, 40))
@example(GAPS, 7)
def test_how_the_bins_are_cut_into_pieces_changes_no_byte(signal: Signal, cuts: int) -> None:
    with written(signal) as path:
        other = path.with_name("other.bw")
        write(other, signal, cuts)
        assert other.read_bytes() == path.read_bytes()


def test_stretches_of_regions(tmp_path: Path) -> None:
    """Bins of parts of chromosomes; what lies between is absent."""
    assembly = Assembly("two", ("chrB", "chrA"), (1_000, 350))
    ones = np.ones(3, np.float32)
    stretches = [
        Stretch(Locus("chrB", 100, 400), ones),
        Stretch(Locus("chrB", 400, 600), ones[:2]),
        Stretch(Locus("chrA", 200, 350), 2 * ones[:2]),
    ]
    write_bigwig(tmp_path / "two.bw", assembly, 100, iter(stretches))
    with pyBigWig.open(str(tmp_path / "two.bw")) as reader:
        assert reader.intervals("chrB") == tuple((start, start + 100, 1.0) for start in range(100, 600, 100))
        assert reader.intervals("chrA") == ((200, 300, 2.0), (300, 350, 2.0))


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700, 66_000])
def test_chromosomes_are_found_by_name_among_any_number(tmp_path: Path, count: int) -> None:
    """Names are not in the order of their bytes, as in most assemblies; 66,000 need a tree of three levels."""
    path, chromsizes = tmp_path / "many.bw", {f"scaffold_{number}": 1_000 + number for number in range(count)}
    filled = [*chromsizes][:: max(count // 7, 1)]
    with BigWigWriter(path, chromsizes, 500) as writer:
        for number, chrom in enumerate(filled):
            writer.add(chrom, 500, np.array([number], np.float32))
    file = BBIFile(path)
    names = [name for name, _, _ in file.chroms()]
    assert names == sorted(names)
    for number, (name, size) in enumerate(chromsizes.items()):
        if count <= 257 or number % 997 == 0:
            assert file.chrom(name) == (number, size)
    for other in ("scaffold", "a", "scaffold_00", "zebra", "scaffold_99999999"):
        assert file.chrom(other) is None
    others = pybigtools.open(str(path))
    with pyBigWig.open(str(path)) as reader:
        assert reader.chroms() == others.chroms() == chromsizes
        for number, chrom in enumerate(filled):
            assert reader.intervals(chrom) == ((500, 1_000, number),)
            assert list(others.records(chrom)) == [(500, 1_000, number)]


def test_an_index_of_several_levels_finds_every_place(tmp_path: Path) -> None:
    path, count = tmp_path / "large.bw", 300 * SECTION_BINS + 5
    values = np.random.default_rng(0).random(count, np.float32)
    values[::3_001] = np.nan
    with BigWigWriter(path, {"chr2": 10, "chr1": 10 * count}, 10) as writer:
        writer.add("chr2", 0, values[1:2])
        writer.add("chr1", 0, values)
    file, others = BBIFile(path), pybigtools.open(str(path))
    assert file.n_blocks(file.index_at) == 302
    with pyBigWig.open(str(path)) as reader:
        for first in [0, 1, SECTION_BINS - 1, 255 * SECTION_BINS - 2, 256 * SECTION_BINS, count - 5]:
            low, high = 10 * first + 3, 10 * (first + 4) + 1
            bins = [number for number in range(first, first + 5) if number < count and not np.isnan(values[number])]
            expected = [(10 * number, 10 * number + 10, values[number]) for number in bins]
            assert file.intervals("chr1", low, high) == expected
            assert list(reader.intervals("chr1", low, min(high, 10 * count))) == expected
            clipped = [(max(start, low), min(end, high), value) for start, end, value in expected]
            assert [*others.records("chr1", low, min(high, 10 * count))] in (expected, clipped)


def test_tiles_are_the_exact_means_of_the_bins(tmp_path: Path) -> None:
    """Through our own server's reader, whose coarse tiles come from the zoom levels."""
    signal = Signal(128, (20_000, 9_000), ("all", "most"), seed=3)
    write(tmp_path / "signal.bw", signal)
    grid = Grid(signal.assembly)
    bases = np.concatenate([np.repeat(signal.bins[c], 128) for c in signal.chromsizes]).astype(np.float64)
    bases = np.concatenate([bases, np.full(grid.max_width - len(bases), np.nan)])
    tileset = BigWigTileset(tmp_path / "signal.bw", grid, "signal")
    for zoom in (0, grid.max_zoom - 3, grid.max_zoom):
        got = decode_dense(tileset.tile(TileId("signal", zoom, 0)))
        blocks = bases[: TILE_SIZE * grid.bin_width(zoom)].reshape(TILE_SIZE, -1)
        some = ~np.isnan(blocks).all(axis=1)
        np.testing.assert_array_equal(~np.isnan(got), some)
        # Values are sent in 16 bits.
        np.testing.assert_allclose(got[some], np.nanmean(blocks[some], axis=1), rtol=1e-3, atol=1e-3)


def test_squares_too_large_for_float32_are_its_largest(tmp_path: Path) -> None:
    """A file that holds infinities anywhere is refused by some readers."""
    values = np.full(10_000, -3e38, np.float32)
    write_bigwig(tmp_path / "large.bw", Assembly("a", ("c",), (10_000,)), 1, [Stretch(Locus("c", 0, 10_000), values)])
    file = BBIFile(tmp_path / "large.bw")
    largest = float(np.finfo(np.float32).max)
    for zoom in file.zooms:
        for summary in file.summaries(zoom, "c"):
            assert summary[4:] == (values[0], values[0], -largest, largest)
    assert file.totals.squares == pytest.approx(10_000 * 9e76)
    check_bigwig(tmp_path / "large.bw", Assembly("a", ("c",), (10_000,)))
