"""Our own routes: search, models, effects, views, pages."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import finished
from trackserver.catalogue.site import Site

VIEWCONF = {"editable": False, "views": [{"uid": "v", "tracks": {"top": []}, "initialXDomain": [0, 5000]}]}


def test_the_site_and_its_assemblies(client: FlaskClient) -> None:
    site = client.get("/api/v1/site/").json
    assert (site["assembly"], site["models"], site["default_model"]) == ("tiny", ["random"], "random")
    (assembly,) = client.get("/api/v1/assemblies/").json["assemblies"]
    assert (assembly["length"], assembly["genes_uid"], assembly["has_sequence"]) == (113_345, "genes-tiny", True)


def test_models_and_their_tracks(client: FlaskClient) -> None:
    (model,) = client.get("/api/v1/models/").json["models"]
    assert (model["id"], model["n_tracks"], model["can_predict"]) == ("random", 3, True)
    assert client.get("/api/v1/models/random/").json["config"]["stem_kernel"] == 9
    assert client.get("/api/v1/models/random/tracks/?q=cage").json["count"] == 2
    assert [t["index"] for t in client.get("/api/v1/models/random/tracks/?assay=dnase").json["tracks"]] == [0]


@pytest.mark.parametrize(
    ("query", "kind", "start", "end"),
    [
        ("alpha1", "gene", 7_500, 22_500),
        ("chrA:1,001-2,000", "locus", 1_000, 2_000),
        ("A:500", "locus", 0, 1_000),
        ("chrC", "locus", 0, 12_345),
        ("bet", "gene", 4_000, 10_000),
    ],
)
def test_search(client: FlaskClient, query: str, kind: str, start: int, end: int) -> None:
    result = client.get("/api/v1/search/", query_string={"q": query, "assembly": "tiny"}).json
    assert (result["kind"], result["start"], result["end"]) == (kind, start, end)


def test_search_for_a_variant(client: FlaskClient, snv: str) -> None:
    result = client.get("/api/v1/search/", query_string={"q": snv.replace(":", "-")}).json
    assert (result["kind"], result["variant"]["text"], result["chrom"]) == ("variant", snv, "chrA")
    assert result["start"] <= 20_010 < result["end"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("nosuchgene", 404, "nothing_found"),
        ("chrA:1-99999999", 400, "bad_locus"),
        ("chrZ:5-9", 404, "unknown_chromosome"),
        ("chrA:70001:A:C", 400, "bad_variant"),
        ("", 400, "invalid_request"),
    ],
)
def test_searches_that_find_nothing(client: FlaskClient, query: str, status: int, code: str) -> None:
    answer = client.get("/api/v1/search/", query_string={"q": query})
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_an_effect_is_queued_then_known(client: FlaskClient, snv: str) -> None:
    question = {"model": "random", "assembly": "tiny", "variants": [snv], "tracks": [0, 2]}
    response = client.post("/api/v1/effects/", json=question)
    assert response.status_code == 202
    assert response.json["status"] in ("queued", "running", "done")
    done = finished(client, response.json["id"])
    assert done["question"] == question | {"ensemble": ["none"], "shifts": [0], "squashed": False, "full": False}
    assert client.post("/api/v1/effects/", json=done["question"]).json["id"] == response.json["id"]
    assert {track["index"] for track in done["tracks"]} == {0, 2}
    assert done["variants"][0]["nearest_gene"] == {"name": "ALPHA1", "distance": 10_010}
    assert done["provenance"]["fasta_sha256"]
    again = client.post("/api/v1/effects/", json=question)
    assert (again.status_code, again.json) == (200, done)
    assert client.get(f"/api/v1/jobs/{done['id']}/").json["status"] == "done"
    assert [job["id"] for job in client.get("/api/v1/jobs/").json["jobs"]] == [done["id"]]


def test_the_sites_own_model_and_assembly_are_meant_where_none_is_said(client: FlaskClient, snv: str) -> None:
    response = client.post("/api/v1/effects/", json={"variants": [snv]})
    done = finished(client, response.json["id"])
    assert (done["question"]["model"], done["question"]["assembly"]) == ("random", "tiny")


def swapped(text: str) -> str:
    chrom, position, ref, alt = text.split(":")
    return f"{chrom}:{position}:{alt}:{ref}"


def test_bad_questions_are_answered_at_once(client: FlaskClient, snv: str) -> None:
    def ask(**changes: object) -> tuple[int, str, str]:
        answer = client.post("/api/v1/effects/", json={"model": "random", "variants": [snv]} | changes)
        return answer.status_code, answer.json["code"], answer.json["error"]

    status, code, sentence = ask(variants=[swapped(snv)])
    assert (status, code) == (400, "reference_mismatch")
    assert f"did you mean {snv}?" in sentence
    assert ask(variants=["chrB:100:A:C"])[:2] == (400, "no_sequence")
    assert ask(variants=["chrA:999999:A:C"])[:2] == (400, "bad_variant")
    assert ask(variants=["chrQ:9:A:C"])[:2] == (404, "unknown_chromosome")
    assert ask(model="enformer")[:2] == (404, "unknown_model")
    assert ask(tracks="77")[:2] == (404, "unknown_track")
    assert ask(assembly="hg99")[:2] == (404, "unknown_assembly")
    assert ask(variants=[])[:2] == (400, "invalid_request")
    assert ask(wrong=1)[:2] == (400, "invalid_request")
    assert client.get("/api/v1/jobs/").json["jobs"] == []


def test_a_job_that_fails_says_why(client: FlaskClient, site: Site, snv: str) -> None:
    weights = site.models / "random" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    response = client.post("/api/v1/effects/", json={"variants": [snv]})
    failed = finished(client, response.json["id"])
    assert failed["status"] == "failed"
    assert "SHA-256" in failed["error"]


def test_the_same_view_is_the_same_link(client: FlaskClient) -> None:
    made = client.post("/api/v1/views/", json={"viewconf": VIEWCONF, "title": "TAL1"})
    assert made.status_code == 201
    view = made.json
    assert (view["url"], view["embed"]) == (f"/v/{view['id']}", f"/embed/{view['id']}")
    assert client.post("/api/v1/views/", json={"viewconf": VIEWCONF, "title": "TAL1"}).json["id"] == view["id"]
    assert client.get(f"/api/v1/viewconfs/?d={view['id']}").json == VIEWCONF
    assert client.get(f"/api/v1/views/{view['id']}/").json["title"] == "TAL1"


def test_higlass_own_export_and_its_link(client: FlaskClient) -> None:
    uid = client.post("/api/v1/viewconfs/", json={"viewconf": VIEWCONF}).json["uid"]
    answer = client.get(f"/l/?d={uid}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/v/{uid}")
    named = client.post("/api/v1/viewconfs/", json={"uid": "mine", "viewconf": VIEWCONF})
    assert named.json == {"uid": "mine"}
    taken = client.post("/api/v1/viewconfs/", json={"uid": "mine", "viewconf": VIEWCONF | {"editable": True}})
    assert (taken.status_code, "already" in taken.json["error"]) == (400, True)


def test_a_views_own_host_is_taken_out(client: FlaskClient) -> None:
    """HiGlass makes servers absolute on export; the view would ask the old host after a move."""
    conf = {"views": [{"tracks": {"top": [{"server": "http://localhost/api/v1", "tilesetUid": "signal"},
                                          {"server": "http://other.org/api/v1"}]}}]}  # fmt: skip
    uid = client.post("/api/v1/viewconfs/", json={"viewconf": conf}).json["uid"]
    stored = client.get(f"/api/v1/viewconfs/?d={uid}").json["views"][0]["tracks"]["top"]
    assert [track["server"] for track in stored] == ["/api/v1", "http://other.org/api/v1"]


@pytest.mark.parametrize("conf", [None, 5, "x", {}, {"views": []}, {"views": "x"}])
def test_what_is_no_viewconf(client: FlaskClient, conf: object) -> None:
    assert client.post("/api/v1/views/", json={"viewconf": conf}).json["code"] == "invalid_request"


def test_healthz(client: FlaskClient) -> None:
    assert client.get("/healthz").json["status"] == "ok"


def test_one_error_shape_over_every_route(app: Flask) -> None:
    """Every rule with its parameters filled with nonsense answers JSON of the one shape, or well."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        url = rule.rule
        for name in rule.arguments:
            url = url.replace(f"<{name}>", "nonsense").replace(f"<path:{name}>", "nonsense")
        for method in ("GET", "POST", "DELETE"):
            answer = client.open(url, method=method, data=b"{not json" if method == "POST" else None, buffered=True)
            if answer.status_code == 404 and url.startswith(("/v/", "/embed/")):
                assert answer.mimetype == "text/html"  # the page itself says it, to people
            elif answer.status_code >= 400:
                assert answer.is_json, (method, url, answer.status_code)
                assert set(answer.json) == {"error", "code", "status"}, (method, url)
                assert answer.json["status"] == answer.status_code
                assert answer.json["error"].endswith((".", "?")), answer.json
                assert answer.status_code < 500 or answer.json["code"] in ("unavailable", "not_offered"), url


def test_a_body_too_large(client: FlaskClient) -> None:
    answer = client.post("/api/v1/views/", data=b"x" * 4_000_001)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_pages_may_be_embedded_only_as_embeds(client: FlaskClient) -> None:
    view = client.post("/api/v1/views/", json={"viewconf": VIEWCONF}).json
    embed, page = client.get(view["embed"]), client.get("/healthz")
    assert "frame-ancestors *" in embed.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe-inline' 'unsafe-eval" not in page.headers["Content-Security-Policy"]


def test_a_path_cannot_leave_the_static_folder(client: FlaskClient) -> None:
    for path in ("/static/../state.py", "/static/%2e%2e/state.py", "/static/..%2f..%2fconfig.py"):
        assert client.get(path).status_code == 404
