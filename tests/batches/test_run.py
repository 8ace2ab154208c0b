"""A list becomes a table: whole, resumable, and never of two questions at once."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from tests.tolerance import assert_close
from trackserver.batches import run as batches
from trackserver.batches.question import CHUNK, Batch, ListRequest, list_question
from trackserver.batches.rows import WAITING, Ledger
from trackserver.batches.run import dry_run, run
from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import InvalidRequest, SiteReadOnly, UnreadableFile
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.predict.engine import load_predictor
from trackserver.predict.ensemble import EnsembleOptions

HEAD = "##fileformat=VCFv4.2\n##source=tests\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone\n"
Table = list[dict[str, str]]


def batch_of(site: Site, source: Path, chunk: int = CHUNK, **fields: Any) -> Batch:
    return list_question(site, source, ListRequest.from_fields(fields), chunk)


def reads(site: Site, chrom: str, position: int, length: int = 1) -> str:
    return decode(site.reference("tiny").genome.codes(Locus(chrom, position - 1, position - 1 + length)))


def other(base: str) -> str:
    return "A" if base != "A" else "C"


@pytest.fixture(scope="module")
def mixed(shared_site: Site) -> str:
    """A VCF with every kind of line."""
    ref = reads(shared_site, "chrA", 20_011)
    alts = [base for base in "ACGT" if base != ref]
    long = reads(shared_site, "chrA", 30_000, 10_000)
    deleted = reads(shared_site, "chrA", 20_100, 4)
    lines = [
        ("chrA", 20_011, "multi", ref, f"{alts[0]},{alts[1]},<DEL>"),
        ("A", 20_011, "again", ref, alts[1]),
        ("chrA", 20_011, "swapped", alts[0], ref),
        ("chrA", 20_011, "iupac", ref, "Y"),
        ("chrA", 20_100, "deletion", deleted, deleted[0]),
        ("chrA", 20_100, "insertion", deleted[0], deleted[0] + "GATTACA"),
        ("chrA", 30_000, "10kb", long, long[0]),
        ("chrA", 70_001, "off", "A", "C"),
        ("chrB", 100, "n", "A", "C"),
        ("chrQ", 100, "unknown", "A", "C"),
        ("chrB", 20_000, "last", reads(shared_site, "chrB", 20_000), other(reads(shared_site, "chrB", 20_000))),
    ]  # fmt: skip
    rows = "".join(f"{c}\t{p}\t{i}\t{r}\t{a}\t.\tPASS\tAF=0.5;TS_IMPACT=9\tGT\t0/1\n" for c, p, i, r, a in lines)
    return HEAD + rows + "chrA\tten\n"


STATUSES = {
    "multi": ["ok", "ok", "symbolic"], "again": ["duplicate"], "swapped": ["ref_mismatch"], "iupac": ["bad_allele"],
    "deletion": ["ok"], "insertion": ["ok"], "10kb": ["too_long"], "off": ["off_chromosome"], "n": ["no_sequence"],
    "unknown": ["unknown_chromosome"], "last": ["ok"], "": ["malformed"],
}  # fmt: skip


def table(path: Path) -> tuple[list[str], Table]:
    """The lines of a TSV that begin with #, and its rows."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    lines = text.splitlines()
    notes = [line for line in lines if line.startswith("#")]
    head, *rows = (line.split("\t") for line in lines[len(notes) :])
    return notes, [dict(zip(head, row, strict=True)) for row in rows]


def scored(site: Site, text: str | bytes, out: Path, **options: Any) -> Path:
    source = out.with_name(f"{out.name}.in")
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    run(batch_of(site, source, model="random", **options), out)
    return out


@pytest.fixture(scope="module")
def tsv(shared_site: Site, mixed: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(shared_site, mixed, tmp_path_factory.mktemp("table") / "out.tsv")


def test_every_line_is_answered_in_order(tsv: Path) -> None:
    notes, rows = table(tsv)
    statuses: dict[str, list[str]] = {}
    for row in rows:
        statuses.setdefault(row["id"], []).append(row["status"])
    assert statuses == STATUSES
    assert list(statuses) == list(STATUSES)
    assert [row["line"] for row in rows][:4] == ["4", "4", "4", "5"]
    for row in rows:
        assert (row["impact"] != "") == (row["status"] in ("ok", "duplicate"))
        assert (row["message"] == "") == (row["status"] == "ok")
        assert row["message"] == "" or row["message"].startswith(f"Line {row['line']}: ")
    assert [note.split(":")[0] for note in notes] == [
        "# trackserver", "# model", "# weights sha256", "# assembly", "# FASTA sha256", "# ensemble", "# tracks",
        "# impact",
    ]  # fmt: skip


def test_a_repeat_has_the_scores_of_the_first_and_ranks_count_variants(tsv: Path) -> None:
    _, rows = table(tsv)
    first, second = (next(row for row in rows if row["id"] == "again"), rows[1])
    assert {k: v for k, v in first.items() if k not in ("line", "id", "written", "status", "message")} == {
        k: v for k, v in second.items() if k not in ("line", "id", "written", "status", "message")
    }
    assert "the same variant as in line 4" in first["message"]
    ranked = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: int(row["rank"]))
    assert [int(row["rank"]) for row in ranked] == [1, 2, 3, 4, 5]
    impacts = [float(row["impact"]) for row in ranked]
    assert impacts == sorted(impacts, reverse=True)


def test_the_numbers_are_those_of_the_verb_for_one(site: Site, tsv: Path) -> None:
    _, rows = table(tsv)
    module = load_predictor(site.models, "random").module
    for row in rows:
        if row["status"] != "ok":
            continue
        found = effects.compute(site, effect_question(site, EffectRequest("random", "tiny", [row["variant"]])))
        top = found["tracks"][0]
        assert int(row["track"]) == top["index"]
        expected = {name: top[name] for name in ("ref", "alt", "delta", "log2fc", "size")} | {"impact": found["impact"]}
        for name, value in expected.items():
            assert_close(float(row[name]), value, module, scale=max(1, abs(value)))
        near = found["variants"][0]["nearest_gene"]
        assert (row["gene"], int(row["distance"])) == (near["name"], near["distance"])
        codes = row["warnings"].split(",") if row["warnings"] else []
        assert set(codes) <= {warning["code"] for warning in found["warnings"]}


def test_gzip_in_and_out(shared_site: Site, mixed: str, tsv: Path, tmp_path: Path) -> None:
    out = scored(shared_site, gzip.compress(mixed.encode()), tmp_path / "out.tsv.gz")
    assert gzip.decompress(out.read_bytes()) == tsv.read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


def test_an_annotated_vcf_keeps_its_columns(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    out = scored(shared_site, mixed, tmp_path / "out.vcf")
    lines = out.read_text().splitlines()
    header, rows = [x for x in lines if x.startswith("#")], [x.split("\t") for x in lines if not x.startswith("#")]
    assert header[:2] == ["##fileformat=VCFv4.2", "##source=tests"]
    assert header[-1] == HEAD.splitlines()[-1]
    assert any(line.startswith("##INFO=<ID=TS_IMPACT,Number=A,Type=Float") for line in header)
    assert any("##trackserver_unwritten=<ID=line15," in line for line in header)
    given = [line.split("\t") for line in mixed.splitlines() if not line.startswith("#")][:-1]
    assert [row[:7] + row[8:] for row in rows] == [row[:7] + row[8:] for row in given]
    info = [dict(part.split("=") for part in row[7].split(";")) for row in rows]
    assert info[0]["AF"] == "0.5"
    assert info[0]["TS_STATUS"] == "ok,ok,symbolic"
    impacts = info[0]["TS_IMPACT"].split(",")
    assert (len(impacts), impacts[2]) == (3, ".")
    assert info[1]["TS_IMPACT"] == impacts[1]
    assert {name for keys in info for name in keys if name.startswith("TS_")} <= {
        line.split("ID=")[1].split(",")[0] for line in header if line.startswith("##INFO=<ID=TS_")
    }
    again = scored(shared_site, out.read_text(), tmp_path / "again.vcf").read_text()
    for number in (0, 3):  # but for line numbers in messages
        assert [x for x in again.splitlines() if not x.startswith("#")][number].split(";TS_MESSAGE")[0] == "\t".join(
            rows[number]
        ).split(";TS_MESSAGE")[0]
    assert again.count("##INFO=<ID=TS_IMPACT,") == 1


def test_a_vcf_of_a_list(shared_site: Site, tmp_path: Path) -> None:
    ref = reads(shared_site, "chrA", 20_011)
    text = f"chrA:20011:{ref}:{other(ref)}\tmine\nnonsense\nchrA:g.20011del\n"
    lines = scored(shared_site, text, tmp_path / "out.vcf").read_text().splitlines()
    assert lines[0] == "##fileformat=VCFv4.3"
    assert "##contig=<ID=chrB,length=31000>" in lines
    assert any("<ID=line2," in line for line in lines)
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert [row[2] for row in rows] == ["mine", "."]
    assert all("TS_STATUS=ok" in row[7] for row in rows)


def test_every_tracks_score(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    notes, rows = table(scored(shared_site, mixed, tmp_path / "out.tsv", score_columns="log2fc"))
    assert "# score of every track: log2fc" in notes
    names = ["0 DNase K562", "1 CAGE K562 +", "2 CAGE K562 -"]
    assert list(rows[0])[-3:] == names
    assert rows[0]["log2fc"] == rows[0][names[int(rows[0]["track"])]]
    assert rows[-1][names[0]] == ""
    with pytest.raises(InvalidRequest, match=r"write \.tsv or \.parquet"):
        scored(shared_site, mixed, tmp_path / "out.vcf", score_columns="log2fc")


def test_parquet(shared_site: Site, mixed: str, tsv: Path, tmp_path: Path) -> None:
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        with pytest.raises(InvalidRequest, match="pip install pyarrow"):
            scored(shared_site, mixed, tmp_path / "out.parquet")
        return
    for name in "ab":
        scored(shared_site, mixed, tmp_path / f"{name}.parquet", score_columns="delta")
    found = parquet.read_table(tmp_path / "a.parquet")
    _, rows = table(tsv)
    assert found.column("status").to_pylist() == [row["status"] for row in rows]
    assert [f"{v:.6g}" if v is not None else "" for v in found.column("impact").to_pylist()] == [
        row["impact"] for row in rows
    ]
    assert found.schema.metadata[b"assembly"] == b"tiny"
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has no variants"),
        (b"\n\n# only notes\n", "has no variants"),
        (b"\x7fELF\0\0\0\1\2\3", "is binary"),
        (b"BCF\2\2", "bcftools view"),
        (b"once upon a time\n", "neither a VCF nor a list"),
        (gzip.compress(b"chrA:1:A:C\n" * 1000, mtime=0)[:-20], "damaged"),
    ],
)
def test_what_is_no_list_is_said_and_leaves_no_table(shared_site: Site, text: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=why):
        scored(shared_site, text, tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


def test_a_vcf_without_rows_is_a_table_without_rows(shared_site: Site, tmp_path: Path) -> None:
    _, rows = table(scored(shared_site, HEAD, tmp_path / "out.tsv"))
    assert rows == []


def test_windows_are_shared_by_neighbours_or_each_variant_lies_in_the_middle(shared_site: Site, tmp_path: Path) -> None:
    """Eight neighbours: on the grid one window or two; in the middle eight, of which each effect is that of its own."""
    positions = range(20_011, 20_019)
    refs = [reads(shared_site, "chrA", position) for position in positions]
    source = tmp_path / "list.txt"
    texts = [f"chrA:{position}:{ref}:{other(ref)}" for position, ref in zip(positions, refs, strict=True)]
    source.write_text("\n".join(texts))
    windows = {}
    module = load_predictor(shared_site.models, "random").module
    for placement in ("grid", "centre"):
        out = tmp_path / f"{placement}.tsv"
        preflights: list[batches.Preflight] = []
        run(
            list_question(shared_site, source, ListRequest("random", ensemble=EnsembleOptions(placement=placement))),
            out,
            on_preflight=preflights.append,
        )
        windows[placement] = preflights[0].windows
        question = effect_question(
            shared_site,
            EffectRequest("random", "tiny", texts[:1], full=True, ensemble=EnsembleOptions(placement=placement)),
        )
        one = effects.compute(shared_site, question)
        top = one["tracks"][0]
        assert_close(float(table(out)[1][0]["delta"]), top["delta"], module, scale=top["max_value"])
    assert windows["grid"] <= 2 < windows["centre"] == 8
    assert "variants in the middle" in "".join(table(tmp_path / "centre.tsv")[0])
    grid, centre = (
        effect_question(
            shared_site, EffectRequest("random", "tiny", texts[:1], ensemble=EnsembleOptions(placement=placement))
        )
        for placement in ("grid", "centre")
    )
    assert grid.id == effect_question(shared_site, EffectRequest("random", "tiny", texts[:1])).id != centre.id


def test_an_ending_that_is_no_format(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"must end in \.tsv, \.tsv\.gz"):
        scored(shared_site, mixed, tmp_path / "out.xlsx")


def test_a_dry_run_says_what_is_there(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text(mixed)
    found = dry_run(list_question(shared_site, tmp_path / "in.vcf", ListRequest("random")), tmp_path)
    assert (found.rows, found.to_score) == (14, 5)
    assert found.statuses["duplicate"] == 1
    assert found.kinds == {"snv": 4, "deletion": 1, "insertion": 1}
    assert found.fixable == {"swap": 1}
    assert 2 <= found.windows <= 3
    assert found.seconds is not None
    assert found.seconds > 0
    assert len(found.problems) == 5


# --- Stopped and gone on with ----------------------------------------------------------------------------------------


def many(site: Site, count: int) -> str:
    rng = np.random.default_rng(5)
    lines = []
    for number, position in enumerate(rng.integers(5_000, 65_000, count)):
        ref = reads(site, "chrA", int(position))
        lines.append(f"chrA\t{position}\tv{number}\t{ref}\t{other(ref)}\t.\t.\t.\tGT\t0/1\n")
    return HEAD + "".join(lines)


def verb(site: Site, source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "trackserver", "score", "random", str(source), "-o", str(out),
            "--site", str(site.path), *options]  # fmt: skip


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows_scored(ledger: Ledger) -> int:
    return ledger.counts("status").get("ok", 0) - ledger.remaining() if ledger.exists() else 0


def test_killed_it_goes_on_and_the_table_is_the_same_to_the_byte(shared_site: Site, tmp_path: Path) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.tsv"
    source.write_text(many(shared_site, 60))
    batch = list_question(shared_site, source, ListRequest("random"), chunk=5)
    run(batch, tmp_path / "whole.tsv")
    ledger = Ledger(tmp_path / "out.tsv.unfinished" / "rows.sqlite")
    process = subprocess.Popen(
        verb(shared_site, source, out, "--chunk", "5"),
        env=alike(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: rows_scored(ledger) >= 15, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    n_scored = rows_scored(ledger)
    assert 15 <= n_scored < 60
    assert n_scored % 5 == 0
    with pytest.raises(InvalidRequest, match=f"has scored {n_scored} rows already: continue it with --resume"):
        run(batch, out)
    steps: list[tuple[int, int]] = []
    run(batch, out, resume=True, report=lambda *step: steps.append(step))
    assert steps[0] == (5, rows_ok(out) - n_scored)
    assert out.read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert not (tmp_path / "out.tsv.unfinished").exists()


def alike() -> dict[str, str]:
    """So that another process adds up in the same order as this one."""
    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}


def rows_ok(path: Path) -> int:
    return sum(row["status"] == "ok" for row in table(path)[1])


class Stopped(Exception):
    pass


def stop_after(rows: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done >= rows:
            raise Stopped

    return report


def test_what_changed_is_said_and_nothing_is_mixed(site: Site, tmp_path: Path) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.tsv"
    source.write_text(many(site, 12))

    def begin() -> None:
        with pytest.raises(Stopped):
            run(list_question(site, source, ListRequest("random"), chunk=5), out, report=stop_after(5))

    begin()
    for options, why in (
        ({"chunk": 6}, "have changed: the size of chunks"),
        ({"chunk": 5, "tracks": "0"}, "have changed: the selected tracks"),
        ({"chunk": 5, "shifts": (0, 1), "full": True}, r"the ensemble .*, --full"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            run(batch_of(site, source, model="random", **options), out, resume=True)  # type: ignore[arg-type]
    source.write_text(source.read_text() + "chrA:5:A:C\n")
    with pytest.raises(InvalidRequest, match="have changed: the list of variants"):
        run(list_question(site, source, ListRequest("random"), chunk=5), out, resume=True)
    run(list_question(site, source, ListRequest("random"), chunk=5), out)  # another question begins anew
    assert len(table(out)[1]) == 13

    begin()
    fasta = tmp_path / "genome.fa"
    fasta.write_text(site.inside(site.settings.assemblies["tiny"].fasta or "").read_text() + "\n")
    changed = site.path / "trackserver.toml"
    old = str(site.settings.assemblies["tiny"].fasta)
    changed.write_text(changed.read_text().replace(old, str(fasta)))
    with pytest.raises(InvalidRequest, match="have changed: the FASTA"):
        again = site.reopen()
        again.reference("tiny").build_missing_index()
        run(list_question(again, source, ListRequest("random"), chunk=5), out, resume=True)


def test_resuming_what_was_not_begun_begins(shared_site: Site, mixed: str, tsv: Path, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text(mixed)
    run(list_question(shared_site, tmp_path / "in.vcf", ListRequest("random")), tmp_path / "out.tsv", resume=True)
    assert (tmp_path / "out.tsv").read_bytes() == tsv.read_bytes()


def test_two_do_not_write_one_table(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text(mixed)
    batch, out = list_question(shared_site, tmp_path / "in.vcf", ListRequest("random")), tmp_path / "out.tsv"
    with pytest.raises(InvalidRequest, match="Another process is writing"):
        run(batch, out, on_preflight=lambda preflight: run(batch, out) and None)


def test_a_full_disk_is_a_sentence_and_what_was_done_is_kept(shared_site: Site, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk's end."""
    source, out = tmp_path / "in.vcf", tmp_path / "out.tsv"
    source.write_text(many(shared_site, 30))
    batch = list_question(shared_site, source, ListRequest("random"), chunk=5)
    run(batch, tmp_path / "whole.tsv")
    script = (
        "import resource, sys; from trackserver.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (32_000, resource.RLIM_INFINITY))\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, *verb(shared_site, source, out, "--chunk", "5")[3:]]
    full = subprocess.run(command, env=alike(), capture_output=True, text=True)
    assert full.returncode == 1, full.stderr
    output = " ".join(full.stderr.split())
    assert "Traceback" not in output
    assert "Make room on the disk" in output
    run(batch, out, resume=True)
    assert table(out)[1] == table(tmp_path / "whole.tsv")[1]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_where_nothing_can_be_written(shared_site: Site, mixed: str, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text(mixed)
    with pytest.raises(SiteReadOnly, match="cannot be written: No such file"):
        run(list_question(shared_site, tmp_path / "in.vcf", ListRequest("random")), tmp_path / "nowhere" / "out.tsv")


def test_memory_holds_no_rows(shared_site: Site, tmp_path: Path) -> None:
    """Rows come out of the ledger one by one, and go in so."""
    lines: list[int] = []
    source = tmp_path / "in.vcf"
    source.write_text(many(shared_site, 50))
    ledger = batches.create_ledger(
        list_question(shared_site, source, ListRequest("random")), Ledger(tmp_path / "rows.sqlite")
    )
    for row in ledger.rows():
        lines.append(row.line)
        assert row.status == WAITING
    assert len(lines) == ledger.total() == 50


# --- The verb --------------------------------------------------------------------------------------------------------


def call(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["score", "random", *arguments, "--site", str(site.path)])


def test_the_verb(shared_site: Site, mixed: str, tsv: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.tsv"
    source.write_text(mixed)
    dry = call(shared_site, str(source), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "14 rows: 5 ok, 1 duplicate" in dry.output
    assert "1 match with REF and ALT swapped" in dry.output
    found = call(shared_site, str(source), "-o", str(out), "--json")
    assert found.exit_code == 0, found.output
    output = json.loads(found.stdout)
    assert (output["preflight"]["rows"], output["summary"]["statuses"]["ok"]) == (14, 5)
    assert out.read_bytes() == tsv.read_bytes()
    assert call(shared_site, str(source), "-o", str(out), "--score-columns", "auto").exit_code == 0
    assert list(table(out)[1][0])[-1] == "2 CAGE K562 -"
    nameless = call(shared_site, str(source))
    assert nameless.exit_code == 1
    assert "Name the table to write with -o" in nameless.output


# --- Real variants ---------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_500_mixed_variants_of_hg38(real_data: Path, shared_site: Site, tmp_path: Path) -> None:
    """Real sequence, mostly N around its islands: every row gets a result."""
    folder = real_data / "hg38"
    site = init_site(
        tmp_path / "site", "hg38", fasta=folder / "hg38.sparse.fa.gz", genes=folder / "refGene.hg38.txt.gz",
        chromsizes=folder / "hg38.all.chrom.sizes",
    )  # fmt: skip
    shutil.copytree(shared_site.models / "random", site.models / "random")
    card = site.models / "random" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"assemblies": ["hg38"]}))
    text = real_variants(site, folder, 500)
    (tmp_path / "in.vcf").write_text(text)
    found = run(list_question(site, tmp_path / "in.vcf", ListRequest("random")), tmp_path / "out.tsv")
    _, rows = table(tmp_path / "out.tsv")
    assert len(rows) == sum(found.values()) == 508
    assert set(found) >= {"ok", "duplicate", "ref_mismatch", "no_sequence", "symbolic", "bad_allele"}
    assert found["ok"] >= 350
    assert all(row["message"] for row in rows if row["status"] != "ok")
    ids = [line.split("\t")[2] for line in text.splitlines() if not line.startswith("#")]
    assert [row["id"] for row in rows] == [name if name != "." else "" for name in ids]


def real_variants(site: Site, folder: Path, count: int) -> str:
    """So many around the islands of known sequence, and the eight of `eqtl.vcf`."""
    rng = np.random.default_rng(7)
    genome = site.reference("hg38").genome
    islands = [line.split("\t")[:3] for line in (folder / "covered.bed").read_text().splitlines()]
    eqtl = [line for line in (folder / "eqtl.vcf").read_text().splitlines() if not line.startswith("#")]
    lines = ["\t".join(line.split()[:5]) + "\t.\t.\t." for line in eqtl]
    for number in range(count):
        chrom, start, end = islands[rng.integers(len(islands))]
        position = int(rng.integers(int(start) - 2_000, int(end) + 2_000))
        length = int(rng.choice([1, 1, 1, 1, 1, 2, 5, 20, 200]))
        ref = decode(genome.codes(Locus(chrom, max(position - 1, 0), max(position - 1, 0) + length)))
        alt = str(rng.choice([other(ref[0]), ref[0] + "GA", ref[0]])) if length == 1 else ref[0]
        match number % 25:
            case 0:
                ref, alt = other(ref[0]), ref[0]
            case 1:
                alt = "<DEL>"
            case 2:
                lines.append(lines[0])
                continue
            case 3:
                chrom, position, ref, alt = "chr2", 5_000 + number, "A", "C"
        lines.append(f"{chrom}\t{max(position, 1)}\tv{number}\t{ref}\t{alt}\t.\t.\t.")
    return "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "\n".join(lines) + "\n"
