from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from trackserver.batches import uploads
from trackserver.batches.uploads import SLICE_S
from trackserver.catalogue.site import Site
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.web import create_app


def reads(site: Site, position: int) -> str:
    return decode(site.reference("tiny").genome.codes(Locus("chrA", position - 1, position)))


@pytest.fixture
def variants(site: Site) -> list[str]:
    result = []
    for position in range(20_011, 20_030):
        ref = reads(site, position)
        result.append(f"chrA:{position}:{ref}:{'A' if ref != 'A' else 'C'}")
    return [*result, result[0], "chrA:20011:N:T", "nonsense", "rs123"]


def ended(client: FlaskClient, batch: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result: dict[str, Any] = client.get(f"/api/v1/batches/{batch}/").json or {}
        if result["status"] in ("done", "failed", "stopped"):
            return result
        time.sleep(0.02)
    pytest.fail("the list was not scored within a minute")


def test_a_list_is_checked_at_once_and_then_scored(client: FlaskClient, variants: list[str]) -> None:
    answer = client.post("/api/v1/batches/", json={"variants": variants})
    assert answer.status_code == 202, answer.json
    sent = answer.json
    assert sent["total"] == len(variants)
    assert sent["preflight"]["statuses"] == {
        "ok": 19, "bad_allele": 1, "duplicate": 1, "malformed": 1, "unknown_rsid": 1,
    }  # fmt: skip
    result = ended(client, sent["id"])
    assert (result["status"], result["scored"], result["to_score"]) == ("done", 19, 19)
    assert [row["line"] for row in result["rows"]] == list(range(1, len(variants) + 1))
    assert [row["status"] for row in result["rows"]][-4:] == ["duplicate", "bad_allele", "malformed", "unknown_rsid"]
    assert result["rows"][0]["rank"] == result["rows"][19]["rank"]
    assert result["about"]["assembly"] == "tiny"
    again = client.post("/api/v1/batches/", json={"variants": variants})
    assert (again.status_code, again.json["id"], again.json["status"]) == (200, sent["id"], "done")


def test_pages_by_line_and_by_rank(client: FlaskClient, variants: list[str]) -> None:
    batch = client.post("/api/v1/batches/", json={"variants": variants}).json["id"]
    ended(client, batch)
    page = client.get(f"/api/v1/batches/{batch}/?start=3&count=2").json
    assert (page["start"], [row["line"] for row in page["rows"]]) == (3, [4, 5])
    ranked = client.get(f"/api/v1/batches/{batch}/?order=rank").json["rows"]
    ranks = [row["rank"] for row in ranked]
    assert ranks == [*sorted(rank for rank in ranks if rank), None, None, None]
    impacts = [row["impact"] for row in ranked if row["impact"] is not None]
    assert impacts == sorted(impacts, reverse=True)
    for wrong in ("start=-1", "count=1001", "order=up", "start=x"):
        assert client.get(f"/api/v1/batches/{batch}/?{wrong}").status_code == 400


def test_files(client: FlaskClient, variants: list[str]) -> None:
    batch = client.post("/api/v1/batches/", json={"variants": variants}).json["id"]
    ended(client, batch)
    tsv = client.get(f"/api/v1/batches/{batch}.tsv")
    assert tsv.mimetype == "text/tab-separated-values"
    lines = [line for line in tsv.text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(variants) + 1
    vcf = client.get(f"/api/v1/batches/{batch}.vcf")
    assert vcf.text.startswith("##fileformat=VCFv4.3\n")
    assert sum(not line.startswith("#") for line in vcf.text.splitlines()) == 20


def test_a_file_as_it_is(client: FlaskClient, site: Site) -> None:
    ref = reads(site, 20_011)
    alts = [base for base in "ACGT" if base != ref]
    text = f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nchrA\t20011\trs1\t{ref}\t{','.join(alts)}\n"
    ids = set()
    for body in (text.encode(), gzip.compress(text.encode())):
        answer = client.post("/api/v1/batches/?tracks=0&shifts=-1,0,1", data=body, content_type="text/plain")
        assert answer.status_code in (200, 202), answer.json
        ids.add(answer.json["id"])
        result = ended(client, answer.json["id"])
    assert len(ids) == 1
    assert [row["track"] for row in result["rows"]] == [0, 0, 0]
    assert "shifts -1, 0, 1 bp" in result["about"]["ensemble"]
    as_json = client.post("/api/v1/batches/", json={"vcf": text, "tracks": "0", "shifts": [-1, 0, 1]})
    assert as_json.json["id"] in ids


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "Send either 'variants'"),
        ({"variants": ["chrA:1:A:C"], "vcf": "x"}, "Send either 'variants'"),
        ({"variants": []}, "has no variants"),
        ({"variants": ["once upon a time"]}, "The list is neither a VCF nor a list"),
        ({"variants": ["chrA:1:A:C"], "model": "none"}, "No model 'none'"),
        ({"variants": ["chrA:1:A:C"], "tracks": "99"}, "has no track"),
        ({"variants": ["chrA:1:A:C"], "score_columns": "best"}, "No score 'best'"),
        ({"variants": ["chrA:1:A:C"], "assembly": "hg38"}, "cannot predict on hg38"),
        ({"variants": ["chrA:1:A:C"], "lift_from": "hg19"}, "no chain file from hg19"),
        ({"variants": ["chrA:1:A:C"], "colour": "red"}, "colour"),
        ({"vcf": "\0\0"}, "is binary"),
    ],
)
def test_what_cannot_be_asked(client: FlaskClient, body: dict[str, Any], why: str) -> None:
    answer = client.post("/api/v1/batches/", json=body)
    assert answer.status_code in (400, 404)
    assert why in answer.json["error"]


def test_a_list_that_is_too_long_names_the_way_out(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_ROWS", 10)
    answer = client.post("/api/v1/batches/", data="chrA:5:A:C\n" * 11)
    assert answer.status_code == 400
    assert "more than 10 rows" in answer.json["error"]
    assert "trackserver score MODEL" in answer.json["error"]
    monkeypatch.setattr(uploads, "MAX_UNZIP_RATIO", 0)
    bomb = client.post("/api/v1/batches/", data=gzip.compress(b"#" * 1_000_000))
    assert "The unzipped list is larger" in bomb.json["error"]


@pytest.mark.parametrize("name", ["0" * 20, "..%2F..%2Fetc", "x"])
def test_no_such_list(client: FlaskClient, name: str) -> None:
    for ending in ("/", ".tsv", ".vcf"):
        assert client.get(f"/api/v1/batches/{name}{ending}").status_code == 404


def test_it_goes_on_after_a_restart(
    site: Site, client: FlaskClient, variants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice is done, then the process ends; the next one goes on where it was."""
    monkeypatch.setattr("trackserver.jobs.queue.Jobs.start", lambda *_: None)
    batch = client.post("/api/v1/batches/", json={"variants": variants}).json["id"]
    monkeypatch.setattr(uploads, "SLICE_S", 0)
    assert uploads.score_slice(site, batch, uploads.request_fields(site, batch)) is True
    result = client.get(f"/api/v1/batches/{batch}/").json
    assert (result["status"], result["scored"]) == ("running", uploads.CHUNK)
    assert [row["status"] for row in result["rows"]][8:12] == ["ok", "ok", "waiting", "waiting"]
    so_far = client.get(f"/api/v1/batches/{batch}.tsv").text
    assert so_far.count("\twaiting\t") == 9
    monkeypatch.undo()
    other = create_app(site)
    other.extensions["trackserver"].jobs.start()
    assert ended(other.test_client(), batch)["scored"] == 19


def test_what_is_done_when_the_model_was_replaced(site: Site, client: FlaskClient, variants: list[str]) -> None:
    batch = client.post("/api/v1/batches/", json={"variants": variants}).json["id"]
    ended(client, batch)
    card = site.models / "random" / "card.json"
    text = card.read_text()
    sha = text.split('"weights_sha256": "')[1][:64]
    card.write_text(text.replace(sha, "0" * 64))
    assert sha in client.get(f"/api/v1/batches/{batch}.tsv").text
    assert client.get(f"/api/v1/batches/{batch}/").json["status"] == "done"


def test_others_go_first_between_slices(
    app: Flask, client: FlaskClient, variants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With slices of one chunk, an effect that came after a list is done before it."""
    assert 0 < SLICE_S <= 5
    monkeypatch.setattr(uploads, "SLICE_S", 0)
    jobs = app.extensions["trackserver"].jobs
    monkeypatch.setattr(jobs, "start", lambda *_: None)
    batch = client.post("/api/v1/batches/", json={"variants": variants}).json["id"]
    effect = client.post("/api/v1/effects/", json={"variants": [variants[1]]}).json["id"]
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "SLICE_S", 0)
    jobs.start()
    ended(client, batch)
    times = {job["id"]: job["ended"] for job in client.get("/api/v1/jobs/").json["jobs"]}
    assert times[effect] < times[batch]


def test_how_long_a_list_takes_is_known_from_the_one_before(client: FlaskClient, variants: list[str]) -> None:
    first = client.post("/api/v1/batches/", json={"variants": variants[:9]}).json
    assert (first["preflight"]["seconds"], first["seconds_left"]) == (None, None)
    assert ended(client, first["id"])["seconds_left"] == 0
    second = client.post("/api/v1/batches/", json={"variants": variants[9:19]}).json
    assert second["preflight"]["seconds"] > 0
    again = client.post("/api/v1/batches/", json={"variants": variants[9:14]}).json
    assert 0 < again["preflight"]["seconds"] < 60


def test_the_oldest_lists_are_deleted(site: Site, variants: list[str]) -> None:
    few = Site(site.path, max_lists=2)
    client = create_app(few).test_client()
    posted_ids = []
    for variant in variants[:4]:
        posted_ids.append(client.post("/api/v1/batches/", json={"variants": [variant]}).json["id"])
        ended(client, posted_ids[-1])
    assert {path.name for path in (few.path / "batches").iterdir()} == set(posted_ids[2:])
    assert client.get(f"/api/v1/batches/{posted_ids[0]}/").json["code"] == "unknown_batch"


def test_nothing_is_left_of_a_list_that_was_refused(client: FlaskClient, site: Site) -> None:
    client.post("/api/v1/batches/", json={"variants": ["once upon a time"]})
    assert list(Path(site.path / "batches").iterdir()) == []
