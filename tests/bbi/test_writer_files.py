"""bigWig files when something goes wrong, when values are rounded, and when several are written at once."""

from __future__ import annotations

import errno
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.bbi.bbifile import BBIFile
from trackserver.bbi import writer
from trackserver.bbi.write_zooms import CHUNK_BINS
from trackserver.bbi.writer import SECTION_BINS, BigWigWriter, write_bigwigs
from trackserver.errors import DataError

Values = NDArray[np.float32]

CHROMSIZES = {"chrB": 1_000, "chrA": 510}
ONES = np.ones(4, np.float32)
BAD = {
    "no chromosome 'chr1'; known chromosomes: chrB, chrA": ("chr1", 0, ONES),
    "chrB comes before": ("chrB", 900, ONES[:1]),
    "do not come after": ("chrA", 0, ONES),
    "chrA:250 on": ("chrA", 250, ONES[:1]),
    "chrA:-100 on": ("chrA", -100, ONES[:1]),
    "4 bins from chrA:300 on do not come after .* or do not fit": ("chrA", 300, ONES),
}


def signal(n_tracks: int, n_bins: int) -> Values:
    values = np.random.default_rng(n_bins).random((n_tracks, n_bins), np.float32)
    values[:, ::701] = np.nan
    return values


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """As on a disk that is full: who writes beyond that is told so by the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("sentence", BAD)
def test_bins_that_do_not_follow_are_refused(tmp_path: Path, sentence: str) -> None:
    with BigWigWriter(tmp_path / "some.bw", CHROMSIZES, 100) as writer:
        writer.add("chrA", 200, ONES[:1])
        with pytest.raises(ValueError, match=sentence):
            writer.add(*BAD[sentence])
        writer.add("chrA", 500, ONES[:1])  # the last bin, of 10 bp
    assert BBIFile(tmp_path / "some.bw").intervals("chrA") == [(200, 300, 1.0), (500, 510, 1.0)]


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_values_are_refused(tmp_path: Path, bad: float) -> None:
    with BigWigWriter(tmp_path / "some.bw", CHROMSIZES, 100) as writer:
        writer.add("chrB", 0, ONES)
        with pytest.raises(DataError, match="A value on chrA is infinite, which a bigWig cannot store"):
            writer.add("chrA", 0, np.array([1, bad, np.nan], np.float32))
    assert BBIFile(tmp_path / "some.bw").totals.covered == 400


@pytest.mark.parametrize("older", [b"an older file", None])
def test_an_error_in_the_block_leaves_things_as_they_were(tmp_path: Path, older: bytes | None) -> None:
    path = tmp_path / "some.bw"
    if older:
        path.write_bytes(older)
    with pytest.raises(KeyError), BigWigWriter(path, {"chr1": CHUNK_BINS * 20}, 10) as writer:
        writer.add("chr1", 0, signal(1, CHUNK_BINS * 2)[0])
        raise KeyError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"some.bw": older} if older else {})


def write_one(folder: Path, values: Values) -> None:
    with BigWigWriter(folder / "0.bw", {"chr1": values.shape[1]}, 1) as writer:
        writer.add("chr1", 0, values[0])


def write_all(folder: Path, values: Values) -> None:
    paths = [folder / f"{number}.bw" for number in range(len(values))]
    with write_bigwigs(paths, {"chr1": values.shape[1]}, 1, threads=2) as add:
        add("chr1", 0, values)


@pytest.mark.parametrize("write", [write_one, write_all])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9, 0.99, 1.0])
def test_a_disk_that_is_full_leaves_things_as_they_were(
    tmp_path: Path, write: Callable[[Path, Values], None], share: float
) -> None:
    """Full at any moment: in the data, while zoom levels wait or are copied, at the very end."""
    values = signal(3, 4 * CHUNK_BINS)
    write(tmp_path, values)
    smallest = min(path.stat().st_size for path in tmp_path.iterdir())
    for path in tmp_path.iterdir():
        path.write_bytes(b"an older file")
    before = {path.name: b"an older file" for path in tmp_path.iterdir()}
    with largest_file(int((smallest - 1) * share)), pytest.raises(OSError, match="File too large"):
        write(tmp_path, values)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_no_space_is_said_as_the_system_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "temporary_path", lambda path: tmp_path / "part")
    (tmp_path / "part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        write_one(tmp_path, signal(1, CHUNK_BINS))
    assert error.value.errno == errno.ENOSPC
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), BigWigWriter(tmp_path / "none" / "some.bw", CHROMSIZES, 100):
        pass


@settings(max_examples=100, deadline=None)
@given(
    values=arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_infinity=False)),
    digits=st.integers(1, 9),
)
@example(np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max, np.float32(1e-45), 0], np.float32), 1)
@example(np.frombuffer(b"\xff\xff\xff\x7f" + b"\xff\xff\xff\xff", np.float32), 3)  # NaN, all of whose bits are set
def test_rounding_keeps_as_many_digits(tmp_path_factory: pytest.TempPathFactory, values: Values, digits: int) -> None:
    path = tmp_path_factory.mktemp("rounded") / "some.bw"
    with BigWigWriter(path, {"c": len(values)}, 1, digits=digits) as writer:
        writer.add("c", 0, values)
    found = np.full(len(values), np.nan)
    for start, _, value in BBIFile(path).intervals("c"):
        found[start] = value
    given = values.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(given))
    bound = np.where(abs(given) < np.finfo(np.float32).tiny, 1e-39, 0.5 * 10.0**-digits * abs(given))
    assert not (abs(found - given) > bound).any()


def test_rounded_files_are_smaller_and_their_summaries_are_of_what_they_hold(tmp_path: Path) -> None:
    values, sizes = signal(1, 8 * SECTION_BINS)[0], {}
    for digits in (2, 3, 5, None):
        path = tmp_path / f"{digits}.bw"
        with BigWigWriter(path, {"c": len(values)}, 1, digits=digits) as writer:
            writer.add("c", 0, values)
        sizes[digits] = path.stat().st_size
        held = [value for _, _, value in BBIFile(path).intervals("c")]
        assert BBIFile(path).totals.sum == pytest.approx(sum(held), rel=1e-12)
    assert sizes[2] < sizes[3] < sizes[5] < sizes[None]


@pytest.mark.parametrize("digits", [0, -2])
def test_no_digits_are_no_rounding(tmp_path: Path, digits: int) -> None:
    with pytest.raises(ValueError, match=f"at least one significant digit, not {digits}"):
        BigWigWriter(tmp_path / "some.bw", CHROMSIZES, 100, digits=digits)


@pytest.mark.parametrize("threads", [1, 3])
def test_several_at_once_are_the_same_as_one_by_one(tmp_path: Path, threads: int) -> None:
    chromsizes = {"chr2": 32 * CHUNK_BINS + 5, "chr1": 77, "chr3": 1_000}
    values = {chrom: signal(7, -(-size // 32)) for chrom, size in chromsizes.items() if chrom != "chr3"}
    paths = [tmp_path / f"{number}.bw" for number in range(7)]
    with write_bigwigs(paths, chromsizes, 32, digits=4, threads=threads) as add:
        for chrom, bins in values.items():
            for first in range(0, bins.shape[1], 10_000):
                add(chrom, 32 * first, bins[:, first : first + 10_000])
    for number, path in enumerate(paths):
        with BigWigWriter(tmp_path / "one.bw", chromsizes, 32, digits=4) as writer:
            for chrom, bins in values.items():
                writer.add(chrom, 0, bins[number])
        assert (tmp_path / "one.bw").read_bytes() == path.read_bytes()


def test_of_several_all_appear_or_none(tmp_path: Path) -> None:
    values = np.ones((3, 4), np.float32)
    values[1, 2] = np.inf
    paths = [tmp_path / f"{number}.bw" for number in range(3)]
    paths[2].write_bytes(b"an older file")
    with pytest.raises(DataError, match="infinite"), write_bigwigs(paths, CHROMSIZES, 100) as add:
        add("chrB", 0, np.ones((3, 4), np.float32))
        add("chrB", 400, values)
    with pytest.raises(ValueError, match="2 rows of values for 3 tracks"), write_bigwigs(paths, CHROMSIZES, 100) as add:
        add("chrB", 0, values[:2])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"2.bw": b"an older file"}


def test_memory_does_not_grow_with_the_genome(tmp_path: Path) -> None:
    """But for the indexes: 8 MB of values more, and less than a twentieth of that in memory."""
    piece = signal(1, CHUNK_BINS)[0]

    def peak(n_pieces: int) -> int:
        tracemalloc.start()
        with BigWigWriter(tmp_path / "some.bw", {"c": n_pieces * CHUNK_BINS * 100}, 100) as writer:
            for number in range(n_pieces):
                writer.add("c", number * CHUNK_BINS * 100, piece)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # compiles, or loads what is compiled
    assert peak(40) < peak(8) + 32 * piece.nbytes // 20


def test_a_gap_of_any_length_costs_nothing(tmp_path: Path) -> None:
    """Bins of 1 bp at both ends of the longest chromosome there can be."""
    size = (1 << 32) - 1
    with BigWigWriter(tmp_path / "long.bw", {"c": size}, 1) as writer:
        writer.add("c", 0, ONES)
        writer.add("c", size - 4, ONES)
    file = BBIFile(tmp_path / "long.bw")
    assert file.intervals("c") == [(start, start + 1, 1.0) for start in [*range(4), *range(size - 4, size)]]
    assert file.totals == (8, 1, 1, 8, 8)
