"""Files at addresses that visitors bring."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from flask.testing import FlaskClient

from tests.conftest import CHROMSIZES, write_signal
from tests.sources.origin import Origin, serving
from tests.tiles.test_bigbed import write_bigbed
from trackserver import config
from trackserver.catalogue.site import Site
from trackserver.sources import guard as guards
from trackserver.tiles.wire import decode_dense
from trackserver.web import create_app


@pytest.fixture
def origin(files: Path) -> Iterator[Origin]:
    with serving() as served:
        served.files["/signal.bw"] = (files / "signal.bw").read_bytes()
        yield served
    guards._connections.close()
    guards._unresponsive.clear()


def client_of(site: Site, **settings: Any) -> FlaskClient:
    """A client of the site with other settings."""
    file = site.path / config.FILE
    file.write_text(tomli_w.dumps(tomllib.loads(file.read_text()) | settings))
    app = create_app(Site(site.path))
    app.testing = False
    return app.test_client()


@pytest.fixture
def client(site: Site) -> FlaskClient:
    return client_of(site, register_url=True, remote_private=True, remote_max_files=2)


def body(url: str, **more: Any) -> dict[str, Any]:
    return {"fileurl": url, "filetype": "bigwig", "coordSystem": "tiny"} | more


def test_a_registered_file_is_drawn_like_a_local_one(client: FlaskClient, origin: Origin) -> None:
    made = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw"), datatype="vector", owner="me"))
    assert made.status_code == 201
    uid = made.json["uid"]
    info = client.get(f"/api/v1/tileset_info/?d={uid}&d=signal").json
    assert info[uid] | {"name": "", "uid": ""} == info["signal"] | {"name": "", "uid": ""}
    assert info[uid]["name"] == "signal"
    for place in ("0.0", "3.1", "6.40"):
        tiles = client.get(f"/api/v1/tiles/?d={uid}.{place}&d=signal.{place}").json
        remote, local = (decode_dense(tiles[f"{name}.{place}"]) for name in (uid, "signal"))
        np.testing.assert_array_equal(remote, local)
    listed = client.get(f"/api/v1/tilesets/{uid}/").json
    assert (listed["kind"], listed["project_name"], listed["coordSystem"]) == ("registered", "Registered", "tiny")


def test_the_same_address_is_the_same_uid(client: FlaskClient, origin: Origin) -> None:
    first = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw")))
    n_requests = len(origin.asked)
    again = client.post("/api/v1/register_url", json=body(origin.url("/signal.bw"), coordSystem=None))
    assert (again.status_code, again.json) == (200, first.json)
    assert len(origin.asked) == n_requests
    named = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw"), uid="mine", name="Mine"))
    assert (named.status_code, named.json["uid"]) == (201, "mine")


def test_there_are_at_most_so_many(client: FlaskClient, origin: Origin) -> None:
    for number in range(3):
        origin.files[f"/{number}.bw"] = origin.files["/signal.bw"]
        answer = client.post("/api/v1/register_url/", json=body(origin.url(f"/{number}.bw")))
    assert (answer.status_code, "the most it takes" in answer.json["error"]) == (400, True)


def test_nothing_of_the_sites_is_replaced(client: FlaskClient, origin: Origin) -> None:
    taken = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw"), uid="signal"))
    assert (taken.status_code, "already" in taken.json["error"]) == (400, True)
    for uid in ("genes-tiny", "fx-1", "a b", "x\n", "é"):
        assert client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw"), uid=uid)).status_code == 400


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"fileurl": "file:///etc/passwd"}, 400, "not a web address"),
        ({"fileurl": "/etc/passwd"}, 400, "not a web address"),
        ({"fileurl": ""}, 400, "fileurl"),
        ({"fileurl": "http://a.org/" + "x" * 2000}, 400, "fileurl"),
        ({"fileurl": 5}, 400, "fileurl"),
        ({"filetype": "bam"}, 400, "'bam' file cannot be registered"),
        ({"filetype": None}, 400, "filetype"),
        ({"coordSystem": "hg99"}, 404, "No assembly 'hg99'"),
    ],
)
def test_what_cannot_be_registered(client: FlaskClient, sent: dict[str, Any], status: int, words: str) -> None:
    answer = client.post("/api/v1/register_url/", json=body("http://127.0.0.1:9/x.bw") | sent)
    assert (answer.status_code, words in answer.json["error"]) == (status, True), answer.json


def test_a_file_that_does_not_fit_is_the_visitors_fault(client: FlaskClient, origin: Origin, tmp_path: Path) -> None:
    write_signal(tmp_path / "other.bw", {"chrA": 500, "chrZ": 700})
    origin.files |= {
        "/other.bw": (tmp_path / "other.bw").read_bytes(),
        "/text.bw": b"not a bigWig" * 100,
        "/no.bw": b"",
    }
    origin.faults["/busy.bw"] = "503"
    origin.files["/busy.bw"] = b"x"
    expected = {"other": "not made with tiny", "text": "text.bw", "no": "empty", "gone": "no file", "busy": "busy"}
    for name, words in expected.items():
        answer = client.post("/api/v1/register_url/", json=body(origin.url(f"/{name}.bw")))
        assert (answer.status_code, words in answer.json["error"]) == (400, True), answer.json
    assert client.get("/api/v1/tilesets/?t=bigwig").json["count"] == 1


def test_intervals_of_another_assembly_are_refused_too(client: FlaskClient, origin: Origin, tmp_path: Path) -> None:
    """As `add` refuses them: a tile of a bigBed whose chromosomes are longer looks as good as any."""
    for name, chromsizes in (("good", CHROMSIZES), ("other", {"chrA": 70_001}), ("foreign", {"chrZ": 500})):
        write_bigbed(tmp_path / f"{name}.bb", chromsizes, [(chrom, 1, 9, "x\t5\t+") for chrom in chromsizes], None)
        origin.files[f"/{name}.bb"] = (tmp_path / f"{name}.bb").read_bytes()
    answers = {
        name: client.post("/api/v1/register_url/", json=body(origin.url(f"/{name}.bb"), filetype="bigbed"))
        for name in ("good", "other", "foreign")
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {"good": 201, "other": 400, "foreign": 400}
    assert "not made with tiny" in answers["other"].json["error"]
    assert "no chromosome of tiny" in answers["foreign"].json["error"]


def test_private_networks_and_other_hosts_are_refused(site: Site, origin: Origin) -> None:
    client = client_of(site, register_url=True)
    answer = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw")))
    assert (answer.status_code, answer.json["code"]) == (400, "remote_refused")
    client = client_of(site, register_url=True, remote_private=True, remote_hosts=["*.encodeproject.org"])
    answer = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw")))
    assert "it reads from *.encodeproject.org" in answer.json["error"]
    assert origin.asked == []


def test_a_site_that_becomes_strict_no_longer_reads_what_was_registered(site: Site, origin: Origin) -> None:
    client = client_of(site, register_url=True, remote_private=True)
    uid = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw"))).json["uid"]
    strict = client_of(site, remote_private=False)
    assert "private network" in strict.get(f"/api/v1/tileset_info/?d={uid}").json[uid]["error"]
    assert "private network" in strict.get(f"/api/v1/tiles/?d={uid}.0.0").json[f"{uid}.0.0"]["error"]


def test_a_site_takes_no_addresses_unless_it_says_so(site: Site, origin: Origin) -> None:
    client = client_of(site)
    answer = client.post("/api/v1/register_url/", json=body(origin.url("/signal.bw")))
    assert (answer.status_code, "register_url = true" in answer.json["error"]) == (400, True)
