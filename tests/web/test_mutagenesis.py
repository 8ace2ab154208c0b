from __future__ import annotations

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from trackserver.catalogue.site import Site
from trackserver.effects import mutagenesis as store
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question

ASKED = {"locus": "chrA:20001-20004"}


def finished(client: FlaskClient, mutagenesis_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result: dict[str, Any] = client.get(f"/api/v1/mutagenesis/{mutagenesis_id}/").json or {}
        if result["status"] in ("done", "failed"):
            return result
        time.sleep(0.02)
    pytest.fail("the map was not computed within a minute")


def test_a_locus_becomes_a_map_that_is_there_at_once_the_next_time(client: FlaskClient) -> None:
    first = client.post("/api/v1/mutagenesis/", json=ASKED)
    assert first.status_code == 202 and first.json["status"] in ("queued", "running", "done")
    result = finished(client, first.json["id"])
    assert result["status"] == "done"
    assert (result["question"]["model"], result["question"]["assembly"]) == ("random", "tiny")
    assert result["score"]["name"] == "log2fc" and "501 bp" in result["score"]["description"]
    assert len(result["tracks"]) == 3 and len(result["tracks"][0]["map"]) == 4
    again = client.post("/api/v1/mutagenesis/", json=ASKED | {"model": "random", "assembly": "tiny"})
    assert (again.status_code, again.json) == (200, result)
    assert client.get(f"/api/v1/jobs/{result['id']}/").json["status"] == "done"


def test_its_tilesets_are_served_as_any_other(client: FlaskClient, site: Site) -> None:
    result = store.compute(site, mutagenesis_question(site, MutagenesisRequest("random", "tiny", ASKED["locus"], "0")))
    uids = result["tracks"][0]["tilesets"]
    infos = client.get("/api/v1/tileset_info/", query_string={"d": list(uids.values())}).json
    assert [infos[uid]["datatype"] for uid in uids.values()] == ["multivec", "multivec", "vector"]
    tile = client.get(f"/api/v1/tiles/?d={uids['map']}.0.0").json[f"{uids['map']}.0.0"]
    assert tile["shape"] == [4, 1024] and tile["dense"]
    missing = f"ism-{'0' * 20}-0-map"
    assert "No tileset" in client.get(f"/api/v1/tileset_info/?d={missing}").json[missing]["error"]
    assert "error" in client.get(f"/api/v1/tiles/?d={missing}.0.0").json[f"{missing}.0.0"]


def test_tracks_and_ways_to_ask(client: FlaskClient) -> None:
    query = ASKED | {"tracks": [2, 0], "score": "sad", "ensemble": ["rc"], "shifts": [-1, 0], "preview": True}
    result = finished(client, client.post("/api/v1/mutagenesis/", json=query).json["id"])
    question = result["question"]
    assert question["tracks"] == [2, 0] and question["ensemble"] == ["rc"] and question["shifts"] == [-1, 0]
    assert question["score"] == "sad" and question["preview"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"locus": "nowhere"}, 400, "bad_locus"),
        ({"locus": "chrA:1-2500"}, 400, "invalid_request"),
        ({"locus": "chrZ:1-25"}, 404, "unknown_chromosome"),
        ({"locus": "chrB:1-25"}, 400, "no_sequence"),
        (ASKED | {"model": "none"}, 404, "unknown_model"),
        (ASKED | {"tracks": "9"}, 404, "unknown_track"),
        (ASKED | {"score": "loud"}, 400, "invalid_request"),
        (ASKED | {"depth": 3}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    client: FlaskClient, query: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/api/v1/mutagenesis/", json=query)
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json
    assert answer.json["error"].endswith(".")


def test_a_map_that_nobody_asked_for(client: FlaskClient) -> None:
    for unknown in ("0" * 20, "no-id"):
        answer = client.get(f"/api/v1/mutagenesis/{unknown}/")
        assert (answer.status_code, answer.json["code"]) == (404, "unknown_mutagenesis")
