from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trackserver.errors import BadVariant, NoSequence, ReferenceMismatch, UnknownChromosome
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import N, decode, encode
from trackserver.genome.variant import (
    Variant,
    check_disjoint,
    check_reference,
    check_sequence,
    haplotype,
    looks_like_variant,
    normalise,
    parse_variant,
    parse_variants,
)

HERE = Assembly("here", ("chr1", "chr2", "chrM"), (50_000_000, 100, 16_569))


class Reads:
    """A genome of one sequence, N beyond it."""

    def __init__(self, sequence: str):
        self.sequence = sequence

    def codes(self, locus: Locus) -> np.ndarray:
        inside = encode(self.sequence[max(locus.start, 0) : max(locus.end, 0)])
        before = min(max(-locus.start, 0), len(locus))
        return np.concatenate([np.full(before, N), inside, np.full(len(locus) - before - len(inside), N)]).astype(
            np.uint8
        )


def applied(sequence: str, variant: Variant) -> str:
    assert sequence[variant.start : variant.end] == variant.ref
    return sequence[: variant.start] + variant.alt + sequence[variant.end :]


# --- Forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "chr1:47690516:C:T", "1-47690516-C-T", "chr1:g.47690516C>T", "chr1:47,690,516 C>T", "chr1 47690516 C T",
        "chr1:47690516 c>t", "chr1_47690516_C_T", "chr1:47690516C/T", "  1:47690516:C:T ", "chr1:47690516:C>T",
        "chr1:47690516 C > T", "chr1\t47690516\trs1\tC\tT\t50\tPASS\tAF=0.5;DP=3\tGT\t0/1\t1/1",
        "1 47690516 . C T . . .", "chr1:g.47690516c>t", "chr1: g.47690516C>T", "CHR1\t47690516\t17\tC\tT",
    ],
)  # fmt: skip
def test_the_forms_people_use(text: str) -> None:
    assert looks_like_variant(text)
    assert parse_variant(text, HERE) == Variant("chr1", 47_690_516, "C", "T")


def test_other_names_of_the_chromosomes() -> None:
    size = 248_956_422
    hg38 = Assembly("hg38", ("chr1",), (size,))
    assert parse_variant("NC_000001.11:g.47690516C>T", hg38) == Variant("chr1", 47_690_516, "C", "T")
    assert parse_variant("NC_000001.11:47690516:C:T", hg38) == Variant("chr1", 47_690_516, "C", "T")
    assert parse_variant("MT:m.73A>G", HERE) == Variant("chrM", 73, "A", "G")
    odd = Assembly("odd", ("chr1_KI270706v1_random",), (1000,))
    for text in ("chr1_KI270706v1_random:10:A:C", "chr1_KI270706v1_random_10_A_C"):
        assert parse_variant(text, odd).chrom == "chr1_KI270706v1_random"


@pytest.mark.parametrize(
    "text",
    [
        "chr1:100-200", "TAL1", "chr1:47,690,516", "chr1", "", "rs123", "HLA-A", "HOXA1-AS2", "chr1:1kb-2M", "chr1:",
        "MIR-17-HG", "chr1\t100\t200\tname\t0\t+", "chr1\t100\t200",
    ],
)  # fmt: skip
def test_other_text_is_not_a_variant(text: str) -> None:
    assert not looks_like_variant(text)
    with pytest.raises(BadVariant, match="is not a variant; write chr1:47690516:C:T"):
        parse_variant(text, HERE)


@pytest.mark.parametrize(
    ("text", "variant", "kind", "length_change"),
    [
        ("chr2:5:AC:A", Variant("chr2", 5, "AC", "A"), "deletion", -1),
        ("chr2:5:A:ACG", Variant("chr2", 5, "A", "ACG"), "insertion", 2),
        ("chr2:5:A:CGA", Variant("chr2", 5, "A", "CGA"), "insertion", 2),
        ("chr2-5-AC-GT", Variant("chr2", 5, "AC", "GT"), "mnv", 0),
        ("chr2:5:AC:AT", Variant("chr2", 5, "AC", "AT"), "snv", 0),
        ("chr2:5:ACC:GT", Variant("chr2", 5, "ACC", "GT"), "delins", -1),
        ("chr2:5:AAAA:AA", Variant("chr2", 5, "AAAA", "AA"), "deletion", -2),
    ],
)
def test_kind_and_length_change(text: str, variant: Variant, kind: str, length_change: int) -> None:
    assert looks_like_variant(text)
    found = parse_variant(text, HERE)
    assert (found, found.kind, found.length_change) == (variant, kind, length_change)
    assert (found.start, found.end) == (4, 4 + len(found.ref))
    assert parse_variant(str(found), HERE) == found
    assert pickle.loads(pickle.dumps(found)) == found and found.swapped.swapped == found


def test_one_variant_for_each_allele() -> None:
    both = (Variant("chr2", 5, "C", "T"), Variant("chr2", 5, "C", "CG"))
    for text in ("chr2:5:C:T,CG", "chr2:5 C>T,CG", "chr2:5 C/T/CG", "chr2\t5\t.\tC\tT,CG\t.\t.\t."):
        assert parse_variants(text, HERE) == both
    with pytest.raises(BadVariant, match="2 alternative alleles; give them one by one: chr2:5:C:T, chr2:5:C:CG"):
        parse_variant("chr2:5:C:T,CG", HERE)


#            1234567890123456789
SEQUENCE = "GATTACACACAGGGTTTCAN" + "ACGT" * 20


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("chr2:g.2del", "chr2:1:GA:G"),
        ("chr2:g.5_7del", "chr2:4:TACA:T"),
        ("chr2:g.5_7delACA", "chr2:4:TACA:T"),
        ("chr2:g.1del", "chr2:1:GA:A"),
        ("chr2:g.6_7insGG", "chr2:6:C:CGG"),
        ("chr2:g.12_14delinsA", "chr2:12:GGG:A"),
        ("chr2:g.12_14delGGGinsA", "chr2:12:GGG:A"),
        ("chr2:g.6_7dup", "chr2:6:CA:CACA"),
        ("chr2:g.2dupA", "chr2:2:A:AA"),
        ("chr2:g.1_3inv", "chr2:1:GAT:ATC"),
        ("chr2:5:A:-", "chr2:4:TA:T"),
        ("chr2:1:GA:-", "chr2:1:GAT:T"),
        ("chr2:6:-:GG", "chr2:6:C:CGG"),
        ("chr2:6::GG", "chr2:6:C:CGG"),
        ("chr2:5:A:", "chr2:4:TA:T"),
        ("chr2-5-A--", "chr2:4:TA:T"),
        ("chr2:5 A/-", "chr2:4:TA:T"),
        ("chr2:21:A:-", "chr2:21:AC:C"),  # the base before it is N
    ],
)
def test_missing_bases_are_read_from_the_reference(text: str, variant: str) -> None:
    assert looks_like_variant(text)
    found = parse_variant(text, HERE, Reads(SEQUENCE))
    assert str(found) == variant
    check_reference(found, Reads(SEQUENCE), "here")


@pytest.mark.parametrize("text", ["chr2:g.2del", "chr2:g.6_7dup", "chr2:g.6_7insGG", "chr2:g.2delinsC", "chr2:5:A:-"])
def test_missing_bases_without_a_reference_are_an_error(text: str) -> None:
    with pytest.raises(BadVariant, match=r"such as chr1:99:TAC:T"):
        parse_variant(text, HERE)


def test_hgvs_with_bases_needs_no_reference() -> None:
    assert str(parse_variant("chr2:g.6_7dupCA", HERE)) == "chr2:6:CA:CACA"
    assert str(parse_variant("chr2:g.12_14delGGGinsA", HERE)) == "chr2:12:GGG:A"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chr2:101:A:C", "ends at 100"),
        ("chr2:0:A:C", "is not on its chromosome"),
        ("chr2:99:ACG:A", "ends at 100"),
        ("chr2:5:A:A", "changes nothing"),
        ("chr2:5:-:-", "changes nothing"),
        ("chr2:5:N:A", "N in REF is not A, C, G or T"),
        ("chr2:5:A:R", "R in ALT stands for A or G; score each"),
        ("chr2:5:A:U", "an RNA base"),
        ("chr2:5:A:*", "an earlier deletion removed this base"),
        ("chr2:5:A:.", "no other allele was observed"),
        ("chr2:5:A:<DEL>", "type of a change without its sequence"),
        ("chr2\t5\t.\tA\t<NON_REF>\t.\t.\t.", "type of a change without its sequence"),
        ("chr2\t5\t.\tA\tA[chr1:100[\t.\t.\t.", "breakend"),
        ("chr2:5:A:]chr1:100]A", "breakend"),
        ("NM_003189.6:c.12A>G", "position in a transcript"),
        ("chr2:g.5_6[4]", "HGVS syntax that is not supported"),
        ("chr2:g.5=", "HGVS syntax that is not supported"),
        ("chr2:g.5_9insA", "the two bases around the insertion"),
        ("chr2:g.7_5del", "is not on its chromosome"),
        ("chr2:g.99_101del", "ends at 100"),
        ("chr2:g.5_7delAC", "has 3 positions but 2 bases"),
    ],
)
def test_impossible_variants_are_refused(text: str, why: str) -> None:
    assert looks_like_variant(text)
    with pytest.raises(BadVariant, match=why):
        parse_variant(text, HERE, Reads(SEQUENCE))


def test_an_unknown_chromosome() -> None:
    with pytest.raises(UnknownChromosome):
        parse_variant("chr7:5:A:C", HERE)


def test_errors_stay_short() -> None:
    for text in ("chr2:1:" + "A" * 100_000 + ":C", "A" * 100_000, "1-" * 50_000, "chr1:5:A:" + "C," * 50_000):
        with pytest.raises(BadVariant) as error:
            parse_variant(text, HERE)
        assert len(str(error.value)) < 400


@given(st.text(alphabet="chrX12345:_-., ACGTNacgtn>/g.delinsup[]<*\t\n", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Any text is a variant or refused, and a text that looks like a variant never gets 'not a variant'."""
    try:
        for variant in parse_variants(text, HERE, Reads(SEQUENCE)):
            assert 1 <= variant.position and variant.ref and variant.alt
    except (BadVariant, UnknownChromosome, NoSequence) as error:
        assert ("is not a variant" not in str(error)) == looks_like_variant(text)


# --- The reference ---------------------------------------------------------------------------------------------------


def test_a_reference_mismatch_suggests_the_swap() -> None:
    genome = Reads("ACGT")
    check_reference(Variant("chr2", 2, "C", "T"), genome, "here")
    with pytest.raises(ReferenceMismatch, match=r"has C there.*did you mean chr2:2:C:T"):
        check_reference(Variant("chr2", 2, "T", "C"), genome, "here")
    with pytest.raises(ReferenceMismatch, match=r"has C there.*hg19 or hg38"):
        check_reference(Variant("chr2", 2, "T", "G"), genome, "here")


def test_a_reference_mismatch_of_longer_alleles() -> None:
    genome = Reads("ACGTTTGN")
    check_reference(Variant("chr2", 2, "CGT", "C"), genome, "here")
    with pytest.raises(ReferenceMismatch, match=r"has CGA?T there.*did you mean chr2:2:CG:TTT") as found:
        check_reference(Variant("chr2", 2, "TTT", "CG"), genome, "here")
    assert found.value.swapped == Variant("chr2", 2, "CG", "TTT")
    with pytest.raises(NoSequence, match=r"here has N at chr2:8: the sequence is unknown"):
        check_reference(Variant("chr2", 7, "GA", "G"), genome, "here")
    with pytest.raises(NoSequence):
        check_sequence(Variant("chr2", 8, "A", "G"), genome, "here")


def test_positions_counted_from_0_are_recognised() -> None:
    genome = Reads("ACGTTTG")
    with pytest.raises(ReferenceMismatch, match=r"The base at 3 is G, and positions count from 1: did you mean chr2:3"):
        check_reference(Variant("chr2", 2, "G", "T"), genome, "here")
    # The single base that a deletion leaves matches by chance, so both are suggested.
    with pytest.raises(ReferenceMismatch) as found:
        check_reference(Variant("chr2", 3, "TTT", "G"), Reads("ACGTTTG"), "here")
    assert (str(found.value.swapped), str(found.value.shifted)) == ("chr2:3:G:TTT", "chr2:4:TTT:G")


def test_apply_refuses_indels() -> None:
    codes = encode("AAAA")
    assert Variant("chr2", 12, "A", "G").apply(codes, Locus("chr2", 10, 14)).tolist() == [0, 2, 0, 0]
    assert Variant("chr2", 12, "AA", "GT").apply(codes, Locus("chr2", 10, 14)).tolist() == [0, 2, 3, 0]
    assert Variant("chr2", 14, "AA", "GT").apply(codes, Locus("chr2", 10, 14)).tolist() == [0, 0, 0, 2]
    assert Variant("chr2", 10, "AA", "GT").apply(codes, Locus("chr2", 10, 14)).tolist() == [3, 0, 0, 0]
    assert codes.tolist() == [0, 0, 0, 0]
    with pytest.raises(BadVariant, match="is an indel"):
        Variant("chr2", 12, "A", "GG").apply(codes, Locus("chr2", 10, 14))


# --- The normal form -------------------------------------------------------------------------------------------------


def slowly_normalised(variant: Variant, sequence: str) -> Variant:
    """Algorithm 1 of Tan et al. 2015, a base at a time."""
    position, ref, alt = variant.position, variant.ref, variant.alt
    changed = True
    while changed:
        changed = False
        if ref and alt and ref[-1] == alt[-1] and not (position == 1 and 1 in (len(ref), len(alt))):
            ref, alt, changed = ref[:-1], alt[:-1], True
        if (not ref or not alt) and position > 1:
            position -= 1
            ref, alt, changed = sequence[position - 1] + ref, sequence[position - 1] + alt, True
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        position, ref, alt = position + 1, ref[1:], alt[1:]
    return Variant(variant.chrom, position, ref, alt)


repetitive = st.builds(
    "".join, st.lists(st.sampled_from(["A", "C", "AC", "ACAC", "AAA", "GT", "ACG"]), min_size=4, max_size=20)
)


@st.composite
def placed(draw: st.DrawFn) -> tuple[str, Variant]:
    """A sequence and a variant somewhere on it, its alleles as short as VCF lets them be or longer."""
    sequence = draw(repetitive)
    start = draw(st.integers(0, len(sequence) - 1))
    end = draw(st.integers(start + 1, min(len(sequence), start + 7)))
    alt = draw(st.text("ACGT", min_size=1, max_size=7))
    assume(alt != sequence[start:end])
    return sequence, Variant("chr2", start + 1, sequence[start:end], alt)


@given(placed())
def test_the_normal_form_is_that_of_the_published_algorithm(case: tuple[str, Variant]) -> None:
    sequence, variant = case
    found = normalise(variant, Reads(sequence))
    assert found == slowly_normalised(variant, sequence)
    assert applied(sequence, found) == applied(sequence, variant)
    assert normalise(found, Reads(sequence)) == found
    assert found.kind == variant.kind and found.length_change == variant.length_change


@st.composite
def indels(draw: st.DrawFn) -> tuple[str, list[Variant]]:
    """A sequence with repeats and an indel on it, written in every way there is."""
    sequence = draw(repetitive)
    start = draw(st.integers(0, len(sequence) - 1))
    size = draw(st.integers(1, 4))
    if draw(st.booleans()):
        altered = sequence[:start] + draw(st.text("ACGT", min_size=size, max_size=size)) + sequence[start:]
    else:
        altered = sequence[:start] + sequence[start + size :]
    length_change = len(altered) - len(sequence)
    assume(length_change and altered)
    ways = []
    for at in range(len(sequence) + 1):
        for length in range(1, 6):  # of REF, whose bases may be shared with ALT
            ref, alt = sequence[at : at + length], altered[at : at + length + length_change]
            if (
                len(ref) == length
                and length + length_change > 0
                and sequence[:at] + alt + sequence[at + length :] == altered
            ):
                ways.append(Variant("chr2", at + 1, ref, alt))
    assume(ways)
    return sequence, ways


@given(indels())
def test_every_way_to_write_an_indel_becomes_the_same(case: tuple[str, list[Variant]]) -> None:
    sequence, ways = case
    assert len({normalise(way, Reads(sequence)) for way in ways}) == 1
    assert len({way.kind for way in ways}) == 1
    assert len({applied(sequence, way) for way in ways}) == 1
    window = Locus("chr2", -3, len(sequence) + 3)
    for anchor in ("left", "right"):
        read = {decode(haplotype(Reads(sequence), window, [way], anchor)) for way in ways}  # type: ignore[arg-type]
        assert len(read) == 1


@pytest.mark.parametrize(
    ("sequence", "variant", "normal"),
    [
        ("GGGCACACACAGGG", "chr2:8:CA:-", "chr2:3:GCA:G"),  # the paper's own example
        ("GGGCACACACAGGG", "chr2:6:CAC:C", "chr2:3:GCA:G"),
        ("CACACAGG", "chr2:4:ACA:A", "chr2:1:CAC:C"),  # no base before it
        ("AAAAG", "chr2:4:A:AA", "chr2:1:A:AA"),
        ("NNNAAAG", "chr2:6:A:AA", "chr2:4:A:AA"),  # none is known before it
        ("NNNAAAG", "chr2:6:AG:G", "chr2:4:AA:A"),
        ("ACGTACGT", "chr2:3:GTA:GCA", "chr2:4:T:C"),
        ("ACGTACGT", "chr2:3:GTA:GCCA", "chr2:4:T:CC"),
        ("ACGTACGT", "chr2:2:CGT:AGA", "chr2:2:CGT:AGA"),
    ],
)
def test_normal_forms_known_beforehand(sequence: str, variant: str, normal: str) -> None:
    genome = Reads(sequence)
    here = Assembly("here", ("chr2",), (len(sequence),))
    found = normalise(parse_variant(variant, here, genome), genome)
    assert str(found) == normal
    assert normalise(found, genome) == found


def test_a_long_repeat_is_crossed_in_few_reads() -> None:
    reads = []

    class Counted(Reads):
        def codes(self, locus: Locus) -> np.ndarray:
            reads.append(locus)
            return super().codes(locus)

    sequence = "G" + "CA" * 50_000 + "T"
    found = normalise(Variant("chr1", 99_998, "CA", "CACA"), Counted(sequence))
    assert found == Variant("chr1", 1, "G", "GCA")
    assert len(reads) < 20


# --- Haplotypes ------------------------------------------------------------------------------------------------------


def by_hand(sequence: str, variants: list[Variant]) -> str:
    for variant in sorted(variants, reverse=True, key=lambda v: (v.change.start, v.change.end)):
        start, ref, alt = variant.change
        sequence = sequence[:start] + alt + sequence[start + len(ref) :]
    return sequence


@st.composite
def haplotypes(draw: st.DrawFn) -> tuple[str, list[Variant], int, int]:
    sequence = draw(st.text("ACGT", min_size=12, max_size=60))
    variants, at = [], 0
    for _ in range(draw(st.integers(1, 4))):
        start = at + draw(st.integers(0, 6))
        ref = sequence[start : start + draw(st.integers(1, 5))]
        alt = draw(st.text("ACGT", min_size=1, max_size=5))
        if not ref:
            break
        at = start + len(ref) + 1
        if ref != alt:
            variants.append(Variant("chr2", start + 1, ref, alt))
    assume(variants)
    start = draw(st.integers(-10, len(sequence)))
    return sequence, variants, start, draw(st.integers(1, 80))


@given(haplotypes())
def test_a_window_reads_the_haplotype(case: tuple[str, list[Variant], int, int]) -> None:
    sequence, variants, start, length = case
    window, genome = Locus("chr2", start, start + length), Reads(sequence)
    altered = Reads(by_hand(sequence, variants))
    length_change = sum(variant.length_change for variant in variants)
    left, right = (haplotype(genome, window, variants[::-1], anchor) for anchor in ("left", "right"))  # type: ignore[arg-type]
    assert left.dtype == right.dtype == np.uint8
    assert decode(left) == decode(altered.codes(window))
    assert decode(right) == decode(altered.codes(Locus("chr2", start + length_change, start + length_change + length)))
    first, last = min(v.start for v in variants), max(v.end for v in variants)
    kept = slice(0, max(0, min(first, window.end) - window.start))
    assert decode(left[kept]) == decode(genome.codes(window)[kept])
    kept = slice(max(0, last - window.start), None)
    assert decode(right[kept]) == decode(genome.codes(window)[kept])


def test_haplotypes_known_beforehand() -> None:
    genome, window = Reads("ACGTACGTAC"), Locus("chr2", 2, 8)  # GTACGT
    assert decode(haplotype(genome, window, [])) == "GTACGT"
    deletion = Variant("chr2", 4, "TAC", "T")
    assert decode(haplotype(genome, window, [deletion])) == "GTGTAC"
    assert decode(haplotype(genome, window, [deletion], "right")) == "ACGTGT"
    insertion = Variant("chr2", 4, "T", "TCC")
    assert decode(haplotype(genome, window, [insertion])) == "GTCCAC"
    assert decode(haplotype(genome, window, [insertion], "right")) == "CCACGT"
    two = [Variant("chr2", 4, "T", "G"), Variant("chr2", 7, "G", "C")]
    for anchor in ("left", "right"):
        assert decode(haplotype(genome, window, two, anchor)) == "GGACCT"  # type: ignore[arg-type]
    end = Locus("chr2", 4, 10)
    assert decode(haplotype(genome, end, [Variant("chr2", 6, "CG", "C")])) == "ACTACN"
    with pytest.raises(BadVariant, match="is not on chr2"):
        haplotype(genome, window, [Variant("chr1", 4, "T", "G")])


def test_two_that_change_the_same_base_do_not_go_together() -> None:
    snv = Variant("chr2", 4, "T", "G")
    for other in ("chr2:4:T:A", "chr2:3:GTA:G", "chr2:2:CGTA:AAAA", "chr2:4:TA:CC"):
        with pytest.raises(BadVariant, match="change the same base"):
            check_disjoint([parse_variant(other, HERE), snv])
    with pytest.raises(BadVariant, match="change the same base"):
        haplotype(Reads("ACGTACGT"), Locus("chr2", 0, 8), [snv, snv])
    with pytest.raises(BadVariant, match="change the same base"):
        check_disjoint([Variant("chr2", 4, "T", "TA"), Variant("chr2", 4, "T", "TC")])
    # What VCF only writes beside a change is not changed; other chromosomes have other bases.
    beside = Variant("chr2", 4, "TA", "T")
    check_disjoint([snv, beside, replace(snv, chrom="chr1")])
    assert decode(haplotype(Reads("ACGTACGT"), Locus("chr2", 0, 6), [beside, snv])) == "ACGGCG"
