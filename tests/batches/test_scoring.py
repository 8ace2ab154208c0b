"""Each line of a list gets a result, whatever is wrong with it; and the numbers are those of one variant at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tolerance import assert_close
from trackserver.batches.scoring import STATUSES, Entry, ReferenceSet, Refusal, RowScores, Scoring, entries, score
from trackserver.batches.table import COLUMNS, Row, bgzip_file, write_tsv
from trackserver.catalogue.site import Site
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.genome.variant import Variant
from trackserver.genome.vcf import read_vcf
from trackserver.models import registry
from trackserver.predict.engine import Predictor, load_predictor
from trackserver.variants.effect import effect
from trackserver.variants.scores import impact

PLAIN = Scoring(warning_codes=lambda effect: ("a_code",), weights={})


@pytest.fixture(scope="module")
def references(shared_site: Site) -> ReferenceSet:
    card = registry.card(shared_site.models, "random")
    return ReferenceSet(card, shared_site.assembly("tiny"), shared_site.reference("tiny").genome)


@pytest.fixture(scope="module")
def predictor(shared_site: Site) -> Predictor:
    return load_predictor(shared_site.models, "random")


def reads(references: ReferenceSet, chrom: str, position: int, length: int = 1) -> str:
    return decode(references.genome.codes(Locus(chrom, position - 1, position - 1 + length)))


def other(base: str) -> str:
    return "A" if base != "A" else "C"


def snv(references: ReferenceSet, position: int, chrom: str = "chrA") -> Variant:
    ref = reads(references, chrom, position)
    return Variant(chrom, position, ref, other(ref))


def entries_of(references: ReferenceSet, text: str) -> list[Entry]:
    source = io.BytesIO(text.encode())
    with read_vcf(source, references.source, references.genome) as reader:
        return [entry for row in reader for entry in entries(row, references)]


VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.mark.parametrize(
    ("line", "status", "why"),
    [
        ("chrA\t20011\trs1\t{r}\t<DEL>\t.\t.\t.", "symbolic", "gives the type of a change"),
        ("chrA\t20011\trs1\t{r}\t{r}[chrB:50[\t.\t.\t.", "symbolic", "breakend"),
        ("chrA\t20011\trs1\t{r}\t*\t.\t.\t.", "symbolic", "earlier deletion removed this base"),
        ("chrA\t20011\trs1\t{r}\tR\t.\t.\t.", "bad_allele", "R in ALT stands for A or G"),
        ("chrA\t20011\trs1\tN\t{a}\t.\t.\t.", "bad_allele", "N in REF"),
        ("chrA\t20011\trs1\t{r}\t.\t.\t.\t.", "bad_allele", "no other allele was observed"),
        ("chrA\t20011\trs1\t{r}\t{r}\t.\t.\t.", "bad_allele", "changes nothing"),
        ("chrA\t20011\trs1\t{a}\t{r}\t.\t.\t.", "ref_mismatch", "did you mean chrA:20011:{r}:{a}"),
        ("chrA\t70001\trs1\tA\tC\t.\t.\t.", "off_chromosome", "ends at 70,000"),
        ("chrA\t69999\trs1\tACGT\tC\t.\t.\t.", "off_chromosome", "ends at 70,000"),
        ("chrA\t0\trs1\tA\tC\t.\t.\t.", "off_chromosome", "ends at 70,000"),
        ("chrZ\t20011\trs1\tA\tC\t.\t.\t.", "unknown_chromosome", "no chromosome 'chrZ'"),
        ("chrB\t100\trs1\tA\tC\t.\t.\t.", "no_sequence", "has N at chrB:100"),
        ("chrA\t20001\trs1\t{long}\tA\t.\t.\t.", "too_long", "more than half"),
        ("chrA\tten\trs1\tA\tC\t.\t.\t.", "malformed", "'ten' is not a position"),
        ("chrA\t20011\trs1\tA", "malformed", "has 4 columns"),
        ("what is this", "malformed", "columns"),
        ("chrA\t20011\trs1\t{r}\t{a}\t.\t.\t.", "ok", ""),
    ],
)
def test_a_line_of_a_vcf_is_a_row_with_a_status(references: ReferenceSet, line: str, status: str, why: str) -> None:
    ref = reads(references, "chrA", 20_011)
    words = {"r": ref, "a": other(ref), "long": reads(references, "chrA", 20_001, 10_000)}
    (entry,) = entries_of(references, VCF + line.format(**words) + "\n")
    assert entry.status == status
    assert entry.status in STATUSES
    assert entry.line == 3
    assert why.format(**words) in entry.message
    assert not entry.message or entry.message.startswith("Line 3: ")
    assert (entry.variant is None) == (status != "ok")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("chrA:20011:{r}:{a}", "ok"),
        ("A-20011-{r}-{a}", "ok"),
        ("chrA:g.20011{r}>{a}", "ok"),
        ("chrA:20011:{a}:{r}", "ref_mismatch"),
        ("chrA:20011:{r}:R", "bad_allele"),
        ("chrA:g.20011{r}>Y", "bad_allele"),
        ("chrA:20011:{r}:<DUP>", "symbolic"),
        ("chrA:99999999:A:C", "off_chromosome"),
        ("chrA:g.99999999del", "off_chromosome"),
        ("chrQ:5:A:C", "unknown_chromosome"),
        ("rs123", "unknown_rsid"),
        ("NM_1:c.5A>C", "malformed"),
        ("hello", "malformed"),
    ],
)
def test_a_line_of_a_list_is_a_row_with_a_status(references: ReferenceSet, line: str, status: str) -> None:
    ref = reads(references, "chrA", 20_011)
    first = f"chrA:20011:{ref}:{other(ref)}"
    *_, entry = entries_of(references, f"{first}\n{line.format(r=ref, a=other(ref))}\tnote\n")
    assert (entry.line, entry.status) == (2, status), entry.message
    assert entry.written.startswith(line.format(r=ref, a=other(ref)))


def test_every_alt_is_a_row(references: ReferenceSet) -> None:
    ref = reads(references, "chrA", 20_011)
    alts = [base for base in "ACGT" if base != ref]
    found = entries_of(references, f"{VCF}chrA\t20011\t.\t{ref}\t{','.join([*alts, '<DEL>'])}\t.\t.\t.\n")
    assert [entry.status for entry in found] == ["ok", "ok", "ok", "symbolic"]
    assert [str(entry.variant) for entry in found[:3]] == [f"chrA:20011:{ref}:{alt}" for alt in alts]


def test_what_would_fit_is_told(references: ReferenceSet) -> None:
    swapped = snv(references, 20_011).swapped
    position = next(
        p for p in range(20_100, 20_200) if reads(references, "chrA", p) != reads(references, "chrA", p + 1)
    )
    ref = reads(references, "chrA", position + 1)
    alt = next(base for base in "ACGT" if base not in (ref, reads(references, "chrA", position)))
    found = entries_of(references, f"{swapped}\nchrA:{position}:{ref}:{alt}\n")
    assert [entry.fix for entry in found] == ["swap", "shift"]


def test_what_is_lifted_says_so(references: ReferenceSet, tmp_path: Path) -> None:
    """A chain that moves all of chrA by 100 bases."""
    chain = tmp_path / "old.chain"
    chain.write_text("chain 1 chrA 70000 + 0 69900 chrA 70000 + 100 70000 1\n69900\n\n")
    lifting = ReferenceSet(
        references.card,
        references.assembly,
        references.genome,
        Liftover.read(chain, references.assembly, references.assembly),
    )
    there = snv(references, 20_011)
    text = f"chrA:19911:{there.ref}:{there.alt}\nchrA:69950:A:C\n"
    lifted, lost = entries_of(lifting, text)
    assert (lifted.variant, lifted.status) == (there, "ok")
    assert "chrA:19911" in lifted.message
    assert lost.status == "not_lifted"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=40)))
def test_whatever_a_line_holds_it_is_answered(references: ReferenceSet, lines: list[str]) -> None:
    lines = [line.replace("\0", "") for line in lines]
    text = VCF + "".join(f"{line}\n" for line in lines)
    rows = {entry.line for entry in entries_of(references, text)}
    assert rows == {n for n, line in enumerate(lines, 3) if line.strip() and not line.startswith("#")}


# --- Numbers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def variants(references: ReferenceSet) -> list[Variant]:
    """Near each other and far apart, of every kind, at ends and beside N."""
    rng = np.random.default_rng(3)
    found = [snv(references, int(position)) for position in rng.integers(20_000, 22_000, 25)]
    found += [snv(references, position) for position in (1, 2_000, 69_999, 70_000)]
    found += [snv(references, 3_001, "chrB"), snv(references, 12_345, "chrC")]
    for position, length in ((20_500, 4), (20_505, 30), (55_000, 300)):
        ref = reads(references, "chrA", position, length)
        found += [Variant("chrA", position, ref, ref[0]), Variant("chrA", position, ref[0], ref)]
    ref = reads(references, "chrA", 21_000, 3)
    return sorted({*found, Variant("chrA", 21_000, ref, "".join(map(other, ref)))})


def check_same(one: RowScores | Refusal, two: RowScores | Refusal, predictor: Predictor) -> None:
    """Equal but for the rounding of what is predicted."""
    assert isinstance(one, RowScores)
    assert isinstance(two, RowScores)
    assert one.track == two.track
    values = max(abs(one.ref), abs(one.alt))
    for name, scale in {"ref": values, "alt": values, "delta": values, "log2fc": 1, "size": 1, "impact": 1}.items():
        assert_close(getattr(one, name), getattr(two, name), predictor.module, scale=scale)


def test_together_they_are_what_each_is_alone(
    predictor: Predictor, references: ReferenceSet, variants: list[Variant]
) -> None:
    found = score(predictor, references, variants, Scoring(lambda effect: ("a_code",), {}, "sad"))
    assert set(found) == set(variants)
    for variant in variants:
        alone = effect(predictor, references.genome, references.assembly, [variant])
        scored, result = alone.scores, found[variant]
        assert isinstance(result, RowScores)
        row = int(np.argmax(scored["size"]))
        assert result.track == row
        assert result.warnings == ("a_code",)
        for name in ("ref", "alt", "delta", "log2fc", "size"):
            assert_close(getattr(result, name), scored[name][row], predictor.module, scale=1)
        assert_close(result.impact, impact(alone, {}), predictor.module, scale=1)
        assert_close(result.track_scores, scored["sad"], predictor.module, scale=alone.ref.sum(axis=1))


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_chunks_and_order_do_not_matter(
    predictor: Predictor, references: ReferenceSet, variants: list[Variant], chunk: int
) -> None:
    whole = score(predictor, references, variants, PLAIN)
    mixed = [variants[i] for i in np.random.default_rng(chunk).permutation(len(variants))]
    parts: dict[Variant, RowScores | Refusal] = {}
    for start in range(0, len(mixed), chunk):
        parts |= score(predictor, references, mixed[start : start + chunk], PLAIN)
    for variant in variants:
        check_same(whole[variant], parts[variant], predictor)


def test_in_full_it_is_the_same(predictor: Predictor, references: ReferenceSet, variants: list[Variant]) -> None:
    some = variants[::5]
    full = score(predictor, references, some, Scoring(lambda effect: (), {}, full=True))
    for variant, result in score(predictor, references, some, PLAIN).items():
        check_same(result, full[variant], predictor)


def test_a_window_of_n_is_refused_and_the_others_are_not(
    predictor: Predictor, references: ReferenceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackserver.variants.effect.MAX_UNKNOWN", 0.3)
    beside, far = snv(references, 3_001, "chrB"), snv(references, 20_000, "chrB")
    found = score(predictor, references, [beside, far], PLAIN)
    assert isinstance(found[far], RowScores)
    refused = found[beside]
    assert isinstance(refused, Refusal)
    assert (refused.status, "is N" in refused.message) == ("no_sequence", True)


# --- Tables ----------------------------------------------------------------------------------------------------------


def written(rows: Iterable[Row], track_columns: tuple[str, ...] = ()) -> list[str]:
    out = io.BytesIO()
    write_tsv(out, {"model": "m\nn"}, track_columns, rows)
    return out.getvalue().decode().splitlines()


def test_a_cell_never_breaks_its_line() -> None:
    row = Row(1, "a\tb", "x\ny", "", "malformed", "one\ttwo\r\nthree", warnings=("p", "q"), impact=1 / 3)
    about, head, line = written([row])
    assert about == "# model: m n"
    cells = dict(zip(head.split("\t"), line.split("\t"), strict=True))
    assert tuple(cells) == COLUMNS
    assert (cells["id"], cells["written"], cells["message"]) == ("a b", "x y", "one two three")
    assert (cells["impact"], cells["warnings"], cells["rank"]) == ("0.333333", "p,q", "")


def test_every_tracks_scores_are_columns_and_empty_where_there_are_none() -> None:
    rows = [
        Row(1, "", "", "", "ok", "", track_scores=np.array([0.5, -2], np.float32)),
        Row(2, "", "", "", "malformed", ""),
    ]
    _, head, one, two = written(rows, ("0 a", "1 b"))
    assert head.split("\t")[-2:] == ["0 a", "1 b"]
    assert one.split("\t")[-2:] == ["0.5", "-2"]
    assert two.split("\t")[-2:] == ["", ""]


def test_packed_it_is_the_same_bytes_every_time_and_gzip_reads_it(tmp_path: Path) -> None:
    import gzip

    for name in "ab":
        with (tmp_path / name).open("wb") as raw:
            out = bgzip_file(raw)
            out.write(b"some text\n" * 20_000)
            out.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert gzip.decompress((tmp_path / "a").read_bytes()) == b"some text\n" * 20_000
