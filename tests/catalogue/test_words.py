"""Different ways of writing one thing are one word, and different things stay apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.catalogue.words import NORMAL, assay, biosample, key, signal_rank, strand, target

texts = st.text(max_size=30) | st.sampled_from(
    ["K-562", "TF ChIP-seq", "SEQ-SEQ", "h3k27ac", " ,GM 12878, ", "x line:y"]
)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("DNASE", "DNase, DNASE, DNase-seq, DNASE-seq, dnase_seq, DNaseI, DNase.hot, DNase I hypersensitivity"),
        ("ATAC", "ATAC, ATAC-seq, atac"),
        ("CHIP", "CHIP, ChIP-seq, TF ChIP-seq, Histone ChIP-seq, Mint-ChIP-seq, HISTONE, CHIP_TF, CHIP_HISTONE"),
        ("RNA", "RNA, RNA-seq, total RNA-seq, polyA plus RNA-seq, polyA minus RNA-seq"),
        ("CAGE", "CAGE, cage, hCAGE"),
        ("RNA3", "RNA3"),
        ("MNASE", "MNase-seq, MNASE"),
        ("SMALL RNA", "small RNA-seq"),
    ],
)
def test_an_assay_is_one_word(word: str, written: str) -> None:
    assert {assay(text) for text in written.split(", ")} == {word}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("K562", "K562; k562; K-562; K 562; chronic myelogenous leukemia cell line:K562"),
        ("HepG2", "HepG2; HEPG2; Hep G2; Hep-G2"),
        ("H1", "H1; H1-hESC; H1 hESC"),
        ("IMR-90", "IMR90; IMR-90"),
        ("GM12878", "GM12878; gm12878; GM 12878"),
        ("GM03348", "gm03348"),
        ("SK-N-SH", "SK-N-SH; SKNSH; sk n sh"),
        ("Ca9-22", "oral squamous cell carcinoma cell line:Ca9-22"),
        ("CD4+ T Cells", "CD4+ T Cells,; CD4+  T Cells"),
    ],
)
def test_a_biosample_is_one_name(name: str, written: str) -> None:
    assert {biosample(text) for text in written.split("; ")} == {name}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HeLa", "HeLa-S3"), ("HEK293", "HEK293T"), ("CD14+CD16+", "CD14-CD16+"), ("CD4+ T", "CD4- T"),
        ("Lin+", "Lin-"), ("H1", "H19"), ("7-5", "75"), ("Huh-7", "Huh-7.5"), ("liver", "liver left lobe"),
        ("SK-N-SH", "SK-N-SH_RA"),
    ],
)  # fmt: skip
def test_other_biosamples_stay_apart(one: str, other: str) -> None:
    assert biosample(one) != biosample(other)
    assert key(one) != key(other)


@pytest.mark.parametrize(
    ("word", "written"),
    [("H3K27ac", "H3K27AC h3k27ac H3k27ac"), ("H4K20me1", "H4K20ME1"), ("EP300", "p300 P300"), ("MYC", "c-Myc c-myc"),
     ("CTCF", "CTCF"), ("eGFP-GATA2", "eGFP-GATA2"), ("H2AK9ac", "H2AK9ac")],
)  # fmt: skip
def test_a_target_is_one_word_and_a_tagged_one_is_another(word: str, written: str) -> None:
    assert {target(text) for text in written.split()} == {word}


def test_strands() -> None:
    assert [strand(text) for text in ("plus", "-", "−", "Reverse", "", "both")] == ["+", "-", "-", "-", ".", "."]
    assert strand("sideways") == "sideways"


@pytest.mark.parametrize("field", NORMAL)
@given(text=texts)
def test_a_normal_word_is_its_own(field: str, text: str) -> None:
    once = NORMAL[field](text)
    assert NORMAL[field](once) == once


@given(text=st.text(st.characters(codec="ascii"), max_size=30))
def test_case_and_blanks_make_no_other_assay_or_key(text: str) -> None:
    assert assay(text.lower()) == assay(f" {text.upper()} ")
    assert key(text.lower()) == key(f" {text.upper()} ")


def test_the_signal_to_show_of_an_assay_comes_first() -> None:
    assert signal_rank("DNASE", "read-depth normalized signal") == 0
    assert signal_rank("RNA", "plus strand signal of unique reads") == 0
    assert signal_rank("CHIP", "signal p-value") > signal_rank("CHIP", "signal of all reads") > 0
