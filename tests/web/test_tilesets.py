"""The catalogue as HiGlass's clients browse it, old ones included."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord


@pytest.fixture
def many(site: Site) -> None:
    """Seven more tilesets, of two kinds."""
    site.catalogue.put_tilesets(
        TilesetRecord(f"u{n}", f"Name {9 - n} 100%", "observed", "tiny", "x", filetype=("bigwig", "cooler")[n % 2],
                      datatype=("vector", "matrix")[n % 2])
        for n in range(7)
    )  # fmt: skip


def uids(client: FlaskClient, query: str) -> list[str]:
    return [entry["uuid"] for entry in client.get(f"/api/v1/tilesets/?{query}").json["results"]]


@pytest.mark.usefixtures("many")
def test_filters_and_orders(client: FlaskClient) -> None:
    own = ["chromsizes-tiny", "genes-tiny", "sequence-tiny", "signal"]
    assert uids(client, "") == [*own, *(f"u{n}" for n in reversed(range(7)))]
    assert uids(client, "dt=matrix") == ["u5", "u3", "u1"]
    assert uids(client, "dt=matrix&dt=chromsizes&t=cooler") == ["u5", "u3", "u1"]
    assert uids(client, "t=bigwig&ac=NAME") == ["u6", "u4", "u2", "u0"]
    assert uids(client, "ac=100%25") == [f"u{n}" for n in reversed(range(7))]
    assert uids(client, "ac=100_") == []
    assert uids(client, "o=uuid&ac=name") == [f"u{n}" for n in range(7)]
    assert uids(client, "o=uuid&r=true&ac=name") == [f"u{n}" for n in reversed(range(7))]
    assert uids(client, "o=uuid") == sorted(uids(client, ""))
    assert uids(client, "o=created")[:4] == ["chromsizes-tiny", "genes-tiny", "sequence-tiny", "signal"]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("order", ["name", "uuid", "datatype"])
def test_pages_hold_every_tileset_once(client: FlaskClient, order: str) -> None:
    seen, url = [], f"/api/v1/tilesets/?limit=3&o={order}"
    while url:
        page = client.get(url).json
        seen += [entry["uuid"] for entry in page["results"]]
        url = page["next"]
    assert seen == uids(client, f"o={order}")
    assert len(seen) == page["count"] == 11
    assert page["previous"].endswith("offset=6")


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=10001", "offset=x", "offset=99999999999999999999", "o=path", "limit=٣"]
)
def test_nonsense_is_a_sentence(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/v1/tilesets/?{query}")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request")


def test_a_tileset_of_its_own(client: FlaskClient) -> None:
    assert client.get("/api/v1/tilesets/genes-tiny/").json["datatype"] == "gene-annotation"
    assert client.get("/api/v1/tilesets/signal").json["provenance"] == {}
    for uid in ("nothing", "genes-nothing"):
        assert client.get(f"/api/v1/tilesets/{uid}/").json["code"] == "unknown_tileset"


@pytest.mark.parametrize("route", ["fragments_by_loci", "uids_by_filename", "link_tile"])
def test_what_only_the_old_server_had_is_said(client: FlaskClient, route: str) -> None:
    answer = client.get(f"/api/v1/{route}/")
    assert (answer.status_code, answer.json["code"]) == (501, "not_offered")
    assert route in answer.json["error"]


def test_an_unknown_view_of_higlass(client: FlaskClient) -> None:
    for url in ("/api/v1/viewconfs/?d=nothing", "/api/v1/viewconfs/", "/l/?d=nothing", "/link/?d=nothing"):
        answer = client.get(url)
        assert (answer.status_code, answer.json["code"]) == (404, "unknown_view")


def test_the_trailing_slash_is_optional_and_nobody_is_sent_on(app: Flask) -> None:
    """A redirected POST would lose its body in some clients."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.arguments or rule.rule == "/":
            continue
        for method in {"GET", "POST"} & rule.methods:
            bare = client.open(rule.rule.rstrip("/"), method=method, json={}, buffered=True)
            slashed = client.open(rule.rule.rstrip("/") + "/", method=method, json={}, buffered=True)
            assert bare.status_code == slashed.status_code != 308, rule.rule
