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


@pytest.fixture
def told_apart(site: Site) -> None:
    """A measured track more, and predictions of two."""
    site.catalogue.put_tilesets([
        TilesetRecord("liver", "Liver", "observed", "tiny", "x", assay="DNase-seq", biosample="liver", strand="+"),
        TilesetRecord("p1", "One", "predicted", "tiny", "x", assay="DNASE", biosample="K562", model="m"),
        TilesetRecord("p2", "Two", "predicted", "tiny", "x", assay="CAGE", biosample="K562", strand="+", model="m"),
    ])  # fmt: skip


def counts(client: FlaskClient, query: str) -> dict[str, dict[str, int]]:
    answer = client.get(f"/api/v1/facets/?{query}").json
    assert answer["count"] == client.get(f"/api/v1/tilesets/?{query}").json["count"]
    return {name: {one["value"]: one["count"] for one in result} for name, result in answer["facets"].items()}


@pytest.mark.usefixtures("told_apart")
def test_facets_count_what_the_catalogue_lists(client: FlaskClient) -> None:
    everything = counts(client, "")
    assert everything["assay"] == {"DNASE": 3, "CAGE": 1}
    assert everything["kind"] == {"annotation": 3, "observed": 2, "predicted": 2}
    assert everything["source"] == {"file": 2, "m": 2}
    chosen = counts(client, "assay=DNase-seq&kind=observed")
    assert chosen["assay"] == {"DNASE": 2}
    assert chosen["kind"] == {"observed": 2, "predicted": 1}
    assert chosen["biosample"] == {"K562": 1, "liver": 1}
    assert counts(client, "ac=k562+cage&assay=")["model"] == {"m": 1}


@pytest.mark.usefixtures("told_apart")
def test_the_catalogue_is_asked_by_facets(client: FlaskClient) -> None:
    assert uids(client, "assay=dnase") == ["signal", "liver", "p1"]
    assert uids(client, "biosample=K-562&kind=predicted") == ["p1", "p2"]
    assert uids(client, "biosample=k562&biosample=Liver&assay=DNASE") == ["signal", "liver", "p1"]
    assert uids(client, "strand=%2B") == uids(client, "strand=+") == uids(client, "strand=plus") == ["liver", "p2"]
    assert uids(client, "ac=k562 dnase") == ["signal", "p1"]
    assert uids(client, "source=m&accession=&o=uuid&r=1") == ["p2", "p1"]
    assert uids(client, "assembly=hg38") == []


@pytest.mark.usefixtures("told_apart")
def test_a_tileset_says_its_pair_why_and_how_sure_and_what_was_said(client: FlaskClient) -> None:
    def output(uid: str) -> list[object]:
        tileset = client.get(f"/api/v1/tilesets/{uid}/").json
        return [tileset[name] for name in ("pair", "pair_reason", "pair_confidence")]

    assert output("p1") == ["signal", "same assay and biosample", "likely"]
    assert output("signal") == ["p1", "same assay and biosample", "likely"]
    assert output("p2") == output("liver") == [None, None, None]
    assert client.get("/api/v1/tilesets/liver/").json["original"] == {"assay": "DNase-seq"}


def test_what_changes_is_seen_at_once(client: FlaskClient, site: Site) -> None:
    predicted = TilesetRecord("p", "P", "predicted", "tiny", "x", assay="DNASE", biosample="K562", model="m")
    assert uids(client, "kind=predicted") == []
    site.catalogue.put_tilesets([predicted])
    assert uids(client, "kind=predicted") == ["p"]
    assert client.get("/api/v1/tilesets/p/").json["pair"] == "signal"
    site.catalogue.choose_pair("p", "")
    assert client.get("/api/v1/tilesets/p/").json["pair"] is None
    site.catalogue.put_tilesets([predicted])  # a record that is older than the newest one there
    site.catalogue.forget_pair("p")
    assert client.get("/api/v1/tilesets/p/").json["pair"] == "signal"
