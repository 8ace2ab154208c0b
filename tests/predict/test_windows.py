from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.errors import BadLocus, DataError, InvalidRequest
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard, Track
from trackserver.predict.windows import on_bins, read_bed, tile, whole_genome

HERE = Assembly("here", ("a", "b"), (10_007, 999))
CARD = ModelCard("m", "compact", "", "here", 1024, 256, 32, (Track(0, "t"),), {}, "")

loci = st.builds(
    lambda chrom, start, length: Locus(chrom, start, min(start + length, HERE.chromsizes[chrom])),
    st.sampled_from(HERE.chroms), st.integers(0, 990), st.integers(1, 9_000),
)  # fmt: skip


@given(st.lists(loci, min_size=1, max_size=6), st.sampled_from([0, 32, 256]))
def test_every_bin_of_the_regions_is_kept_exactly_once(regions: list[Locus], crop: int) -> None:
    card = replace(CARD, crop=crop)
    kept: list[tuple[str, int]] = []
    for window in tile(on_bins(regions, HERE, 32), card):
        bins = window.bins(32)
        assert len(window.read) == card.window
        assert bins.start >= crop // 32
        assert bins.stop <= (card.window - crop) // 32
        assert window.keep.start == window.read.start + bins.start * 32
        assert window.keep.start % 32 == 0
        kept += [(window.keep.chrom, window.keep.start + 32 * i) for i in range(window.n_bins(32))]
    wanted = {(r.chrom, s) for r in regions for s in range(r.start // 32 * 32, r.end, 32)}
    assert sorted(kept) == sorted(wanted)


def test_the_whole_genome() -> None:
    windows = list(tile(whole_genome(HERE), CARD))
    assert sum(window.n_bins(32) for window in windows) == -(-10_007 // 32) + -(-999 // 32)
    assert windows[0].read.start == -256


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
