"""bigWig tiles against slow exact arithmetic on single bases, for random files, at every zoom and in every mode.

The oracle never reads the file for its values: it lays what was written on the assembly's axis base by base.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tolerance import MAX_TOLERANCE, STORED
from trackserver.bbi import kernels
from trackserver.bbi.bigwig import check_bigwig
from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

Floats = NDArray[np.float64]

MODES = ("mean", "min", "max", "std")
MAX_TILES = 6  # a zoom, in one mode
RANDOM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Section:
    """Part of a chromosome, as one of the three kinds of data a bigWig holds."""

    kind: str
    gap: int  # bases from the end of the section before
    span: int
    step: int
    values: tuple[float, ...]  # over and over
    count: int

    def intervals(self, start: int) -> Iterator[tuple[int, int, float]]:
        """Where its values lie; a bedGraph's are of uneven length."""
        at = start + self.gap
        for number, value in enumerate(islice(cycle(self.values), self.count)):
            length = 1 + (number * 7) % self.span if self.kind == "bedGraph" else self.span
            yield at, at + length, value
            at += max(self.step, self.span) if self.kind != "bedGraph" else length + (number % 3) * (self.step - 1)


@dataclass(frozen=True)
class Chromosome:
    """`size` is of the assembly; the file may call the chromosome otherwise, or lack it."""

    size: int
    alias: str  # own | bare | missing
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Signal:
    chromosomes: tuple[Chromosome, ...]
    reverse: bool = False  # the file's order of chromosomes against the assembly's
    stranger_first: bool = False  # or last: a chromosome in the file that the assembly does not have
    max_zooms: int = 10
    writer: str = "pyBigWig"

    @property
    def assembly(self) -> Assembly:
        sizes = tuple(chromosome.size for chromosome in self.chromosomes)
        return Assembly("random", tuple(f"chr{number + 1}" for number in range(len(sizes))), sizes)


@dataclass
class Written:
    """A signal's file, and every base of it: `bases` (max_width,) float64, NaN where nothing is."""

    path: Path
    grid: Grid
    bases: Floats
    own: dict[str, str] = field(default_factory=dict)  # the assembly's names -> the file's


def magnitudes(scale: float) -> st.SearchStrategy[float]:
    return st.integers(-1_000, 1_000).map(lambda thousandths: thousandths * scale / 1_000)


def value_lists() -> st.SearchStrategy[tuple[float, ...]]:
    """Few values or many different ones; constants, zeros and mixed signs at several scales."""
    few = st.one_of(*(st.lists(magnitudes(scale), min_size=1, max_size=8) for scale in (1e-3, 1.0, 1e4)))
    many = st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).gamma(0.3, 3.0, 97).astype(np.float32).tolist()
    )
    return st.one_of(few, few, many, st.just([0.0]), st.just([3.5])).map(tuple)


def sections() -> st.SearchStrategy[Section]:
    return st.builds(
        Section,
        st.sampled_from(("bedGraph", "variableStep", "fixedStep")),
        gap=st.sampled_from((0, 0, 1, 17, 3_000)),
        span=st.sampled_from((1, 1, 2, 5, 128, 900, 20_000)),
        step=st.sampled_from((1, 1, 3, 200, 1_500)),
        values=value_lists(),
        count=st.sampled_from((1, 2, 30, 700, 5_000)),
    )


def signals() -> st.SearchStrategy[Signal]:
    sizes = st.one_of(st.just(1), st.integers(1, 40), st.integers(1, 60_000), st.integers(60_000, 150_000))
    chromosomes = st.builds(
        Chromosome,
        sizes,
        st.sampled_from(("own", "own", "bare", "missing")),
        st.lists(sections(), max_size=4).map(tuple),
    )
    return st.builds(
        Signal,
        st.lists(chromosomes, min_size=1, max_size=5).map(tuple),
        reverse=st.booleans(),
        stranger_first=st.booleans(),
        max_zooms=st.sampled_from((0, 1, 2, 10)),
        writer=st.sampled_from(("pyBigWig", "pyBigWig", "pybigtools")),
    )


@contextmanager
def written(signal: Signal) -> Iterator[Written]:
    """The signal's bigWig, for as long as the block lasts."""
    with TemporaryDirectory() as folder:
        made = Written(Path(folder) / "signal.bw", Grid(signal.assembly), np.empty(0))
        made.bases = np.full(made.grid.max_width, np.nan)
        write(signal, made)
        yield made


def write(signal: Signal, made: Written) -> None:
    named = zip(signal.assembly.chroms, signal.chromosomes, strict=True)
    listed = [(name, chromosome) for name, chromosome in named if chromosome.alias != "missing"]
    listed = listed[::-1] if signal.reverse else listed
    made.own = {name: name.removeprefix("chr") if c.alias == "bare" else name for name, c in listed}
    chromsizes = {made.own[name]: chromosome.size for name, chromosome in listed}
    parts = [part for name, chromosome in listed for part in lay(made, name, chromosome)]
    # A file must hold some value: one chromosome that the assembly lacks always does.
    stranger = Part("strange", Section("bedGraph", 7, 3_000, 1, (1e6,), 1), [(7, 8, 1e6)])
    if signal.stranger_first:
        chromsizes, parts = {"strange": 5_000, **chromsizes}, [stranger, *parts]
    else:
        chromsizes, parts = {**chromsizes, "strange": 5_000}, [*parts, stranger]
    {"pyBigWig": write_with_pybigwig, "pybigtools": write_with_pybigtools}[signal.writer](
        made.path, chromsizes, parts, signal.max_zooms
    )


@dataclass(frozen=True)
class Part:
    """What of a section fits on its chromosome, under the file's own name of it."""

    own: str
    section: Section
    intervals: list[tuple[int, int, float]]


def lay(made: Written, chrom: str, chromosome: Chromosome) -> Iterator[Part]:
    """A chromosome's parts, each laid on the bases as well."""
    at, size, offset = 0, chromosome.size, made.grid.assembly.offsets[chrom]
    for section in chromosome.sections:
        fits = [(start, min(end, size), value) for start, end, value in section.intervals(at) if start < size]
        if section.kind != "bedGraph":  # spans are all the same
            fits = [interval for interval in fits if interval[1] - interval[0] == section.span]
        if not fits:
            return
        for start, end, value in fits:
            made.bases[offset + start : offset + end] = np.float32(value)
        yield Part(made.own[chrom], section, fits)
        # pyBigWig takes a whole step after the last value for used.
        at = fits[-1][0] + max(section.step, section.span) if section.kind == "fixedStep" else fits[-1][1]


def write_with_pybigwig(path: Path, chromsizes: dict[str, int], parts: list[Part], max_zooms: int) -> None:
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(chromsizes.items()), maxZooms=max_zooms)
        for part in parts:
            section = part.section
            starts, ends, values = ([*column] for column in zip(*part.intervals, strict=True))
            if section.kind == "bedGraph":
                writer.addEntries([part.own] * len(starts), starts, ends=ends, values=values)
            elif section.kind == "variableStep":
                writer.addEntries(part.own, starts, values=values, span=section.span)
            else:
                step = max(section.step, section.span)
                writer.addEntries(part.own, starts[0], values=values, span=section.span, step=step)


def write_with_pybigtools(path: Path, chromsizes: dict[str, int], parts: list[Part], _: int) -> None:
    """Summaries as UCSC's own tools make them."""
    intervals = ((part.own, *interval) for part in parts for interval in part.intervals)
    pybigtools.open(str(path), "w").write(chromsizes, intervals)


def exact(bases: Floats, mode: str, zoom: int, grid: Grid) -> Floats:
    """(bins of the whole zoom,) over the covered bases of each."""
    blocks = bases.reshape(-1, grid.bin_width(zoom))
    of = {"mean": np.nanmean, "min": np.nanmin, "max": np.nanmax, "std": np.nanstd}[mode]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bins that cover nothing
        # Shifted by a value of the bin's own, so that the oracle's std does not lose what it is there to check.
        if mode == "std":
            blocks = blocks - np.nanmax(blocks, axis=1, keepdims=True)
        return np.asarray(of(blocks, axis=1), np.float64)


def largest(bases: Floats, zoom: int, grid: Grid) -> Floats:
    """The greatest magnitude in each bin: what rounding is measured by."""
    return np.nanmax(np.abs(np.nan_to_num(bases)).reshape(-1, grid.bin_width(zoom)), axis=1)


def tiles_looked_at(grid: Grid, zoom: int) -> list[int]:
    """The first and last tiles of the pyramid, and those that hold a join or the genome's end."""
    width = TILE_SIZE * grid.bin_width(zoom)
    ends = np.cumsum(grid.assembly.sizes)
    joins = [int(end) // width for end in ends]
    chosen = dict.fromkeys([*joins[::-1], 0, (1 << zoom) - 1, (1 << zoom) // 3])
    return [x for x in chosen if grid.has_tile(zoom, x)][:MAX_TILES]


def tile(tileset: BigWigTileset, zoom: int, x: int, mode: str) -> Floats:
    values = decode_dense(tileset.tile(TileId("s", zoom, x, modifier="" if mode == "mean" else mode)))
    assert len(values) == TILE_SIZE
    assert not np.isinf(values).any()
    return values.astype(np.float64)


def level_for(path: Path, bin_width: int) -> int:
    """The zoom level that is documented to be used: the coarsest with two summaries a bin; 0 for the data."""
    return max((level for level in pybigtools.open(str(path)).zooms() if 2 * level <= bin_width), default=0)


TINY = Signal((Chromosome(1, "own", (Section("fixedStep", 0, 1, 1, (2.0,), 1),)), Chromosome(1, "bare")))
SIGNS = Signal(
    (Chromosome(3_000, "missing"), Chromosome(2_000, "own", (Section("bedGraph", 0, 900, 3, (1e4, -1e-3), 100),)))
)
COUNTS = tuple(map(float, range(97)))
DENSE = Signal((Chromosome(150_000, "own", (Section("fixedStep", 0, 1, 1, COUNTS, 150_000),)),))
SPARSE = Signal((Chromosome(150_000, "own", (Section("variableStep", 11, 2, 200, COUNTS, 740),)),))


@RANDOM
@given(signal=signals())
@example(TINY)
@example(SIGNS)
def test_a_tile_is_the_exact_aggregate_of_its_bases(signal: Signal) -> None:
    """Wherever a bin is too narrow for a zoom level: all tiles of small files, all modes."""
    with written(signal) as made:
        tileset = BigWigTileset(made.path, made.grid, "s")
        for zoom in range(made.grid.max_zoom + 1):
            if level_for(made.path, made.grid.bin_width(zoom)):
                continue
            scale = largest(made.bases, zoom, made.grid)
            for mode in MODES:
                expected = exact(made.bases, mode, zoom, made.grid)
                # A deviation is a difference of squares: it has half of float64's digits.
                rounding = scale * (STORED if mode == "std" else 1e-12)
                for x in tiles_looked_at(made.grid, zoom):
                    here = slice(x * TILE_SIZE, (x + 1) * TILE_SIZE)
                    assert_close(tile(tileset, zoom, x, mode), expected[here], rounding[here], f"{mode} {zoom}.{x}")


def assert_close(got: Floats, expected: Floats, rounding: Floats, what: str) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    wrong = np.abs(got - expected) > STORED * np.abs(expected) + rounding
    assert not wrong.any(), f"{what}: bin {wrong.argmax()} is {got[wrong][0]}, not {expected[wrong][0]}"


@RANDOM
@given(signal=signals())
@example(DENSE)
@example(SPARSE)
def test_a_tile_from_summaries_shares_out_those_that_an_edge_cuts(signal: Signal) -> None:
    """By overlap, and so within the stated bound of the truth: the more is covered besides, the less they show."""
    with written(signal) as made:
        tileset = BigWigTileset(made.path, made.grid, "s")
        for zoom in range(made.grid.max_zoom + 1):
            level = level_for(made.path, made.grid.bin_width(zoom))
            if not level:
                continue
            summaries = summaries_of(made, level)
            got = {mode: tile(tileset, zoom, 0, mode) for mode in MODES}
            for number in range(TILE_SIZE):
                check_bin(made, summaries, zoom, number, {mode: values[number] for mode, values in got.items()})


@dataclass(frozen=True)
class Summaries:
    """A zoom level's stretches of the absolute axis, sorted, and what is on their bases."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    covered: Floats
    sums: Floats
    squares: Floats


def summaries_of(made: Written, level: int) -> Summaries:
    """The stretches are read by another reader; what they hold is taken from the bases."""
    assembly = made.grid.assembly
    reader = pybigtools.open(str(made.path))
    stretches = sorted(
        (assembly.offsets[chrom] + start, assembly.offsets[chrom] + min(end, size))
        for chrom, size in assembly.chromsizes.items()
        if chrom in made.own
        for start, end, _ in reader.zoom_records(level, made.own[chrom], 0, size)
    )
    starts, ends = np.array(stretches, np.int64).reshape(-1, 2).T
    held = np.nan_to_num(made.bases)
    covered, sums, squares = (
        np.array([row[start:end].sum() for start, end in stretches], np.float64)
        for row in (np.isfinite(made.bases), held, held**2)
    )
    return Summaries(starts, ends, covered, sums, squares)


def check_bin(made: Written, summaries: Summaries, zoom: int, number: int, got: dict[str, float]) -> None:
    width = made.grid.bin_width(zoom)
    begin, end = number * width, (number + 1) * width
    first = np.searchsorted(summaries.ends, begin, "right")
    last = np.searchsorted(summaries.starts, end, "left")
    what = f"bin {number} of zoom {zoom}: {got}"
    if first == last:
        assert all(np.isnan(value) for value in got.values()), what
        return
    starts, ends = summaries.starts[first:last], summaries.ends[first:last]
    share = (np.minimum(ends, end) - np.maximum(starts, begin)) / (ends - starts)
    covered, total, squares = (
        float((row[first:last] * share).sum()) for row in (summaries.covered, summaries.sums, summaries.squares)
    )
    around = made.bases[starts[0] : ends[-1]]
    low, high = np.nanmin(around), np.nanmax(around)
    magnitude = max(abs(low), abs(high))  # sums are float32 in the file
    assert abs(got["mean"] - total / covered) <= MAX_TOLERANCE * magnitude, what
    assert (got["min"], got["max"]) == (low, high), what
    variance = max(squares / covered - (total / covered) ** 2, 0.0)
    assert abs(got["std"] ** 2 - variance) <= MAX_TOLERANCE * magnitude**2, what

    held = made.bases[begin:end][np.isfinite(made.bases[begin:end])]
    n_cut = summaries.covered[first:last][share < 1].sum()
    guessed = min(1.0, 2 * n_cut / summaries.covered[first:last].sum())
    if held.size:
        assert abs(got["mean"] - held.mean()) <= guessed * (high - low) + MAX_TOLERANCE * magnitude, what


def test_summaries_that_no_edge_cuts_are_exact(tmp_path: Path) -> None:
    """Where a bin is a whole number of summaries, they lose no more than float32 does."""
    size, held = 65_024, 16_320
    assembly = Assembly("whole", ("c",), (size,))
    grid = Grid(assembly)
    values = np.random.default_rng(1).gamma(0.5, 2.0, held).astype(np.float32).astype(np.float64)
    with pyBigWig.open(str(tmp_path / "w.bw"), "w") as writer:
        writer.addHeader([("c", size)])
        writer.addEntries("c", 0, values=values, span=1, step=1)
    level = level_for(tmp_path / "w.bw", grid.bin_width(0))
    assert level
    assert grid.bin_width(0) % level == 0
    bases = np.concatenate([values, np.full(grid.max_width - held, np.nan)])
    for mode in MODES:
        got = tile(BigWigTileset(tmp_path / "w.bw", grid, "s"), 0, 0, mode)
        np.testing.assert_allclose(got, exact(bases, mode, 0, grid), rtol=MAX_TOLERANCE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    """A check refuses them and says so; where a file with them is served all the same, they are gaps."""
    assembly = Assembly("odd", ("c",), (3_000,))
    with pyBigWig.open(str(tmp_path / "odd.bw"), "w") as writer:
        writer.addHeader([("c", 3_000)])
        writer.addEntries("c", 0, values=[1.0, bad, 3.0] * 1_000, span=1, step=1)
    with pytest.raises(UnreadableFile, match=r"odd.bw .*finite"):
        check_bigwig(tmp_path / "odd.bw", assembly)
    grid = Grid(assembly)
    bases = np.full(grid.max_width, np.nan)
    bases[:3_000] = [1.0, np.nan, 3.0] * 1_000
    for mode in MODES:
        got = tile(BigWigTileset(tmp_path / "odd.bw", grid, "s"), grid.max_zoom, 0, mode)
        np.testing.assert_allclose(got, exact(bases, mode, grid.max_zoom, grid)[:TILE_SIZE], rtol=STORED)
        assert not np.isinf(tile(BigWigTileset(tmp_path / "odd.bw", grid, "s"), 0, 0, mode)).any()


def test_where_nothing_compiled_can_be_kept_it_is_compiled_anew() -> None:
    """As in an installation that cannot be written to, used by somebody without a home."""
    script = (
        "from numba.core import caching; caching.CacheImpl._locator_classes = []; "
        "from trackserver.bbi import kernels; kernels.warm_up(); print(kernels.means.stats.cache_path)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize("start", [90, 100, 101, 130])
def test_summaries_beyond_a_chromosomes_end_say_nothing_there(start: int) -> None:
    words = np.array([[0, start, start + 40, 40, 0, 0, 0, 0]], np.uint32)
    singles = words.view(np.float32)
    singles[0, 4:] = 2, 2, 80, 160
    totals, widest = np.zeros((3, 1)), np.array([[np.inf], [-np.inf]])
    axis = np.array([1000]), np.array([1100])  # a chromosome of 100 bp
    kernels.add_summaries(words, singles, *axis, 1000, 512, totals)
    kernels.widen_summaries(words, singles, *axis, 1000, 512, widest)
    assert totals[:, 0].tolist() == ([40, 80, 160] if start < 100 else [0, 0, 0])
    assert widest[:, 0].tolist() == ([2, 2] if start < 100 else [np.inf, -np.inf])
