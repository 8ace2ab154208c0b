from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.errors import BadLocus, DataError, InvalidRequest
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import on_bins, read_bed, whole_genome
from trackserver.models.card import ModelCard, Track
from trackserver.sweep.windows import tile

HERE = Assembly("here", ("a", "b"), (10_007, 999))
CARD = ModelCard("m", "compact", "", ("here",), 1024, 256, 32, (Track(0, "t"),), {}, "")

loci = st.builds(
    lambda chrom, start, length: Locus(chrom, start, min(start + length, HERE.chromsizes[chrom])),
    st.sampled_from(HERE.chroms), st.integers(0, 990), st.integers(1, 9_000),
)  # fmt: skip


@given(st.lists(loci, min_size=1, max_size=6), st.sampled_from([0, 32, 256]))
def test_every_bin_of_the_regions_is_kept_exactly_once(regions: list[Locus], crop: int) -> None:
    card = replace(CARD, crop=crop)
    kept: list[tuple[str, int]] = []
    for window in tile(on_bins(regions, HERE, 32), card, HERE):
        assert len(window.read) == card.window
        assert window.n_bins(32) <= card.n_bins(card.window)
        assert window.keep.start == window.read.start + crop
        assert window.keep.start % 32 == 0
        kept += [(window.keep.chrom, window.keep.start + 32 * i) for i in range(window.n_bins(32))]
    wanted = {(r.chrom, s) for r in regions for s in range(r.start // 32 * 32, r.end, 32)}
    assert sorted(kept) == sorted(wanted)


def test_the_whole_genome() -> None:
    windows = list(tile(whole_genome(HERE), CARD, HERE))
    assert sum(window.n_bins(32) for window in windows) == -(-10_007 // 32) + -(-999 // 32)
    assert windows[0].read.start == -256


@pytest.mark.parametrize(("size", "length"), [(1, 768), (300, 832), (500, 1024), (600, 1024), (5000, 1024)])
def test_windows_on_a_short_chromosome_are_no_longer_than_they_need_to_be(size: int, length: int) -> None:
    short = Assembly("short", ("c",), (size,))
    card = replace(CARD, shortest=768)
    windows = list(tile(whole_genome(short), card, short))
    assert {len(window.read) for window in windows} == {length}
    assert sum(window.n_bins(32) for window in windows) == -(-size // 32)
    assert {len(window.read) for window in tile(whole_genome(short), CARD, short)} == {1024}


@pytest.mark.parametrize("size", [1, 300, 500, 600, 5000])
def test_a_short_chromosome_is_covered_also_where_windows_are_trimmed(size: int) -> None:
    short = Assembly("short", ("c",), (size,))
    card = replace(CARD, shortest=544)
    windows = list(tile(whole_genome(short), card, short, trim=7))
    assert [window.keep.start for window in windows[1:]] == [window.keep.end for window in windows[:-1]]
    assert (windows[0].keep.start, windows[-1].keep.end) == (0, size)
    for window in windows:
        assert window.keep.start - window.read.start == 256 + 7 * 32
        assert window.read.end - window.keep.end >= 256 + 7 * 32 - 31
        assert len(window.read) <= card.window


@pytest.mark.parametrize("stride", [2, 64, 128, 1024])
def test_a_model_of_one_value_at_any_stride(stride: int) -> None:
    """Each stretch of `stride` bp is the centre of the window that is read for it."""
    card = replace(CARD, crop=412, bin_width=200).at_stride(stride)
    windows = list(tile(on_bins([Locus("a", 300, 3000)], HERE, card.bin_width), card, HERE))
    for window in windows:
        middle = window.keep.start + stride // 2
        assert (window.read.start, window.read.end) == (middle - 512, middle + 512)
    assert [w.keep.start for w in windows] == list(range(300 // stride * stride, 3000, stride))
    with pytest.raises(InvalidRequest, match="models with one value per window"):
        CARD.at_stride(stride)
    for impossible in (0, 3, 2048):
        with pytest.raises(InvalidRequest, match="even number of bp"):
            card.at_stride(impossible)


def test_a_bed_file(tmp_path: Path) -> None:
    (tmp_path / "r.bed").write_text("# regions\ntrack name=x\na\t0\t100\tsomething\n\nb\t5\t9\n")
    assert read_bed(tmp_path / "r.bed", HERE) == [Locus("a", 0, 100), Locus("b", 5, 9)]


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [("a\t0\n", DataError, "line 1"), ("a\tx\t5\n", DataError, "line 1"), ("\n", InvalidRequest, "no region"),
     ("b\t0\t1000\n", BadLocus, "999 bp")],
)  # fmt: skip
def test_what_is_no_bed(text: str, error: type[Exception], why: str, tmp_path: Path) -> None:
    (tmp_path / "r.bed").write_text(text)
    with pytest.raises(error, match=why):
        read_bed(tmp_path / "r.bed", HERE)
