from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from trackserver.errors import ChromosomesDoNotFit, DataError, NotLifted
from trackserver.genome.assembly import Assembly, known_assembly
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, decode, encode, reverse_complement
from trackserver.genome.variant import Variant, check_reference, haplotype

OLD = Assembly("old", ("chr1", "chr2"), (100, 40))
NEW = Assembly("new", ("chr1", "chr2", "chrX"), (120, 40, 50))

# chr1 of old: 10-30 lies 5 further right; 30-34 is removed, 6 bases are put in; 34-50 follows; for 50-52 there are two
# other bases; 52-60. Bases 60-80 are turned round, on chrX; 80-90 has two places; 90-95 lies on a patch.
CHAINS = """##comment
chain 100 chr1 100 + 10 60 chr1 120 + 15 67 1
20\t4\t6
16\t2\t2
8

chain 50 chr1 100 + 60 80 chrX 50 - 10 30 2
20

chain 40 chr1 100 + 80 90 chr1 120 + 80 90 3
10

chain 40 chr1 100 + 80 90 chr2 40 + 0 10 4
10

chain 30 chr1 100 + 90 95 chr1_patch 500 + 0 5 5
5

chain 30 chr9 77 + 0 5 chr1 120 + 0 5 6
5
"""


class Genomes:
    """Sequences by chromosome."""

    def __init__(self, **sequences: str):
        self.sequences = sequences

    def codes(self, locus: Locus) -> Codes:
        padded = "N" * 1000 + self.sequences[locus.chrom] + "N" * 1000
        return encode(padded[locus.start + 1000 : locus.end + 1000])


def turned(sequence: str) -> str:
    return decode(reverse_complement(encode(sequence)))


@pytest.fixture(scope="module")
def old() -> Genomes:
    rng = np.random.default_rng(3)
    return Genomes(chr1="".join(rng.choice(list("ACGT"), 100)), chr2="A" * 40)


@pytest.fixture(scope="module")
def new(old: Genomes) -> Genomes:
    s = old.sequences["chr1"]
    chr1 = "G" * 15 + s[10:30] + "TTTTTT" + s[34:50] + turned(s[50:52])[::-1] + s[52:60]
    chr_x = "C" * 20 + turned(s[60:80]) + "C" * 10  # 10-30 of the other strand of 50
    return Genomes(chr1=chr1.ljust(120, "N"), chr2="A" * 40, chrX=chr_x)


@pytest.fixture(scope="module", params=["plain", "gzip"])
def lift(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Liftover:
    path = tmp_path_factory.mktemp("chains") / "oldToNew.over.chain.gz"
    path.write_bytes(CHAINS.encode() if request.param == "plain" else gzip.compress(CHAINS.encode()))
    return Liftover.read(path, OLD, NEW)


def variant_at(genome: Genomes, start: int, length: int = 1, alt: str = "") -> Variant:
    ref = genome.sequences["chr1"][start : start + length]
    return Variant("chr1", start + 1, ref, alt or ("A" if ref != "A" else "C"))


@pytest.mark.parametrize(("start", "there"), [(10, 15), (29, 34), (34, 41), (49, 56), (52, 59), (59, 66)])
def test_a_base_is_found_again(lift: Liftover, old: Genomes, new: Genomes, start: int, there: int) -> None:
    variant = variant_at(old, start)
    lifted = lift.lift(variant, new)
    assert lifted.variant == Variant("chr1", there + 1, variant.ref, variant.alt)
    assert (lifted.flipped, lifted.swapped, lifted.checked, lifted.source) == (False, False, True, variant)
    assert str(lifted) == f"{variant} of old is {lifted.variant} of new."


@pytest.mark.parametrize("start", [60, 65, 79])
def test_the_other_strand(lift: Liftover, old: Genomes, new: Genomes, start: int) -> None:
    variant = variant_at(old, start)
    lifted = lift.lift(variant, new)
    assert lifted.flipped and lifted.variant.chrom == "chrX"
    assert lifted.variant.start == 20 + 79 - start
    assert (lifted.variant.ref, lifted.variant.alt) == (turned(variant.ref), turned(variant.alt))
    check_reference(lifted.variant, new, "new")
    assert "the opposite strand there, so the alleles are complemented" in str(lifted)


@pytest.mark.parametrize("start", [61, 66, 70, 75])
@pytest.mark.parametrize("size", [1, 3])
def test_indels_on_the_other_strand_make_the_same_haplotype(
    lift: Liftover, old: Genomes, new: Genomes, start: int, size: int
) -> None:
    for variant in (
        variant_at(old, start, size + 1, old.sequences["chr1"][start]),
        variant_at(old, start, 1, old.sequences["chr1"][start] + "GATTA"[:size]),
        variant_at(old, start, 2, "GATTACA"),
    ):
        lifted = lift.lift(variant, new).variant
        check_reference(lifted, new, "new")
        here = haplotype(old, Locus("chr1", 60, 80 + variant.length_change), [variant])
        there = haplotype(new, Locus("chrX", 20, 40 + variant.length_change), [lifted])
        assert decode(reverse_complement(here)) == decode(there)
        assert lifted.kind == variant.kind


def test_a_variant_without_a_unique_position_is_not_lifted(lift: Liftover, old: Genomes, new: Genomes) -> None:
    for start, length, why in (
        (5, 1, "has no counterpart in new: its sequence was removed"),
        (31, 1, "has no counterpart in new"),
        (28, 4, "is split in new"),
        (28, 10, "has another length in new: bases were added or removed"),
        (58, 4, "is split in new: its ends are in different places"),
        (85, 1, "has 2 counterparts in new"),
        (91, 1, "moved to another chromosome in new: chr1_patch"),
    ):
        with pytest.raises(NotLifted, match=why) as error:
            lift.lift(variant_at(old, start, length, "T" * (length + 1)), new)
        assert str(error.value).startswith("chr1:") and " of old " in str(error.value)
    with pytest.raises(NotLifted, match="has no counterpart"):
        lift.lift(Variant("chr2", 5, "A", "C"), new)


def test_a_changed_reference_swaps_the_alleles_or_is_an_error(lift: Liftover, old: Genomes, new: Genomes) -> None:
    base = old.sequences["chr1"][20]
    other, third = [b for b in "ACGT" if b != base][:2]
    sequence = new.sequences["chr1"]
    changed = Genomes(chr1=sequence[:25] + other + sequence[26:])
    lifted = lift.lift(Variant("chr1", 21, base, other), changed)
    assert lifted.swapped and lifted.variant == Variant("chr1", 26, other, base)
    assert "REF and ALT are swapped" in str(lifted)
    with pytest.raises(NotLifted, match=rf"sequence is {other}, not REF \({base}\): the reference was changed"):
        lift.lift(Variant("chr1", 21, base, third), changed)
    # The shorter allele of an indel is part of the longer one, so the sequence at this position decides nothing.
    before = old.sequences["chr1"][19:21]
    with pytest.raises(NotLifted, match="the reference was changed"):
        lift.lift(Variant("chr1", 20, before, before[0]), changed)
    unknown = Genomes(chr1=sequence[:25] + "N" + sequence[26:])
    with pytest.raises(NotLifted, match=r"the sequence is unknown"):
        lift.lift(Variant("chr1", 21, base, other), unknown)
    # Two bases that were replaced by two others do not break a chain, so only REF shows the change.
    with pytest.raises(NotLifted, match="the reference was changed"):
        lift.lift(variant_at(old, 49, 4, "TTTT"), new)


def test_without_the_target_sequence_ref_is_not_checked(lift: Liftover, old: Genomes) -> None:
    lifted = lift.lift(variant_at(old, 20))
    assert not lifted.checked and "its REF is not checked" in str(lifted)


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("", DataError, "has no chains"),
        ("chr1\t0\t5\n", DataError, "line 1 does not belong in a chain file"),
        ("20 4 6\n", DataError, "line 1"),
        (CHAINS.replace("16\t2\t2", "16\t2"), DataError, "line 4"),
        (
            CHAINS.replace("chr1 100", "chr1 200"),
            ChromosomesDoNotFit,
            "not a chain file from old to new: its chr1 is 200",
        ),
        (CHAINS.replace("chr1 120", "chr1 130"), ChromosomesDoNotFit, "chr1 is 130 bp long, but in new it is 120"),
        ("chain 1 chr8 9 + 0 5 chr1 120 + 0 5 1\n5\n", ChromosomesDoNotFit, "no data on any chromosome of old"),
    ],
)
def test_a_file_that_is_not_a_matching_chain_file_is_an_error(
    tmp_path: Path, text: str, error: type[Exception], why: str
) -> None:
    (tmp_path / "in.chain").write_text(text)
    with pytest.raises(error, match=why):
        Liftover.read(tmp_path / "in.chain", OLD, NEW)


@pytest.mark.realdata
def test_real_chains_there_and_back(real_data: Path) -> None:
    hg19, hg38 = known_assembly("hg19"), known_assembly("hg38")
    there = Liftover.read(real_data / "hg19" / "hg19ToHg38.over.chain.gz", hg19, hg38)
    back = Liftover.read(real_data / "hg38" / "hg38ToHg19.over.chain.gz", hg38, hg19)
    tal1 = Variant("chr1", 47_690_516, "C", "T")
    assert there.lift(tal1).variant == Variant("chr1", 47_224_844, "C", "T")
    rng = np.random.default_rng(5)
    same = moved = lost = 0  # duplicated sequence may come back elsewhere: each file has only the best match one way
    for start in rng.integers(0, 249_000_000, 2000).tolist():
        locus = Locus("chr1", start, start + 3)
        try:
            lifted, flipped = there.lift_locus(locus)
            returned = back.lift_locus(lifted) == (locus, flipped)
        except NotLifted:
            lost += 1
            continue
        same, moved = same + returned, moved + (not returned)
    assert same > 1700 and moved < 20 and lost < 280  # a tenth of chr1 is N


@pytest.mark.realdata
def test_real_variants_are_found_again_with_their_ref(real_data: Path) -> None:
    """Measured eQTLs of hg38, taken to hg19 and back, read their own REF again."""
    hg19, hg38 = known_assembly("hg19"), known_assembly("hg38")
    there = Liftover.read(real_data / "hg38" / "hg38ToHg19.over.chain.gz", hg38, hg19)
    back = Liftover.read(real_data / "hg19" / "hg19ToHg38.over.chain.gz", hg19, hg38)
    genome = Genome(real_data / "hg38" / "hg38.sparse.fa.gz")
    for line in (real_data / "hg38" / "eqtl.vcf").read_text().splitlines()[1:]:
        chrom, position, _, ref, alt = line.split("\t")[:5]
        variant = Variant(chrom, int(position), ref, alt)
        try:
            elsewhere = there.lift(variant).variant
        except NotLifted:
            continue
        assert back.lift(elsewhere, genome).variant == variant
