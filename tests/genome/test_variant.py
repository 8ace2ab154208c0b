from __future__ import annotations

import numpy as np
import pytest

from trackserver.errors import BadVariant, ReferenceMismatch, UnknownChromosome
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import encode
from trackserver.genome.variant import Variant, check_reference, looks_like_variant, parse_variant

HERE = Assembly("here", ("chr1", "chr2"), (50_000_000, 100))


@pytest.mark.parametrize(
    "text",
    [
        "chr1:47690516:C:T", "1-47690516-C-T", "chr1:g.47690516C>T", "chr1:47,690,516 C>T", "chr1 47690516 C T",
        "chr1:47690516 c>t", "chr1_47690516_C_T", "chr1:47690516C/T", "  1:47690516:C:T ", "chr1:47690516:C>T",
    ],
)  # fmt: skip
def test_the_forms_people_use(text: str) -> None:
    assert looks_like_variant(text)
    assert parse_variant(text, HERE) == Variant("chr1", 47_690_516, "C", "T")


@pytest.mark.parametrize("text", ["chr1:100-200", "TAL1", "chr1:47,690,516", "chr1", "", "rs123", "HLA-A", "HOXA1-AS2"])
def test_what_is_no_variant(text: str) -> None:
    assert not looks_like_variant(text)
    with pytest.raises(BadVariant, match="is not a variant; write chr1:47690516:C:T"):
        parse_variant(text, HERE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chr2:101:A:C", "ends at 100"),
        ("chr2:0:A:C", "lies off"),
        ("chr2:5:AC:A", "not a change of one base"),
        ("chr2:5:A:ACG", "not a change of one base"),
        ("chr2:5:N:A", "not a change of one base"),
        ("chr2:5:A:A", "changes nothing"),
    ],
)
def test_variants_that_cannot_be(text: str, why: str) -> None:
    with pytest.raises(BadVariant, match=why):
        parse_variant(text, HERE)


def test_an_unknown_chromosome() -> None:
    with pytest.raises(UnknownChromosome):
        parse_variant("chr7:5:A:C", HERE)


class Reads:
    """A genome of one sequence."""

    def __init__(self, sequence: str):
        self.sequence = sequence

    def codes(self, locus: Locus) -> np.ndarray:
        return encode(self.sequence[locus.start : locus.end])


def test_the_reference_is_checked_and_the_swap_offered() -> None:
    genome = Reads("ACGT")
    check_reference(Variant("chr2", 2, "C", "T"), genome, "here")  # type: ignore[arg-type]
    with pytest.raises(ReferenceMismatch, match=r"reads C there.*did you mean chr2:2:C:T"):
        check_reference(Variant("chr2", 2, "T", "C"), genome, "here")  # type: ignore[arg-type]
    with pytest.raises(ReferenceMismatch, match=r"reads C there.*hg19 or hg38"):
        check_reference(Variant("chr2", 2, "T", "G"), genome, "here")  # type: ignore[arg-type]


def test_apply_changes_one_base() -> None:
    codes = encode("AAAA")
    changed = Variant("chr2", 12, "A", "G").apply(codes, Locus("chr2", 10, 14))
    assert changed.tolist() == [0, 2, 0, 0]
    assert codes.tolist() == [0, 0, 0, 0]
