from __future__ import annotations

import pytest

from trackserver.errors import BadLocus
from trackserver.genome.locus import Locus, parse_locus


@pytest.mark.parametrize(
    ("text", "locus"),
    [
        ("chr1:1-10", Locus("chr1", 0, 10)),
        ("chr1:47,680,001-47,700,000", Locus("chr1", 47_680_000, 47_700_000)),
        (" chr1 : 5 - 6 ", Locus("chr1", 4, 6)),
        ("chr1:47,690,516", Locus("chr1", 47_690_515, 47_690_516)),
        ("chr1:1kb-2M", Locus("chr1", 999, 2_000_000)),
        ("HLA-DRB1*15:01:5-9", None),
        ("2L:100-200", Locus("2L", 99, 200)),
    ],
)
def test_what_people_type(text: str, locus: Locus | None) -> None:
    if locus is None:
        with pytest.raises(BadLocus):
            parse_locus(text)
    else:
        assert parse_locus(text) == locus


@pytest.mark.parametrize("text", ["", "chr1", "chr1:", "chr1:x-y", "chr1:10-5", "chr1:0-0", "chr1:0"])
def test_what_is_no_locus(text: str) -> None:
    with pytest.raises(BadLocus, match="is not a locus"):
        parse_locus(text)


def test_a_locus_is_written_as_it_is_typed() -> None:
    assert str(Locus("chr1", 999, 2000)) == "chr1:1,000-2,000"
    assert parse_locus(str(Locus("chrX", 0, 1))) == Locus("chrX", 0, 1)
