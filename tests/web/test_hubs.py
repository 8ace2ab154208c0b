"""The catalogue for other genome browsers, as they would ask for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import higlass_schema
import pybigtools
import pyBigWig
import pytest
from flask.testing import FlaskClient

from tests.hubs.rules import (
    LEFT_OUT,
    SIZES,
    VIEWCONF,
    check_hub,
    check_jbrowse,
    check_washu,
    make_hub_site,
    read_igv,
)
from tests.web.test_register import client_of
from trackserver.catalogue.site import Site
from trackserver.errors import UnreadableFile
from trackserver.hubs import headers

HOST = "http://localhost"
HUB = f"{HOST}/api/v1/hub/ucsc/hub.txt"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnreadableFile("It is far away.")

    monkeypatch.setattr(headers, "open_remote", refuse)


@pytest.fixture(scope="module")
def hub_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_hub_site(tmp_path_factory.mktemp("hubs") / "hub")


class Reader(FlaskClient):
    """Reads every answer to its end, so that the files behind them are closed."""

    def open(self, *words: Any, **more: Any) -> Any:
        return super().open(*words, **({"buffered": True} | more))


def reader_of(site: Site, **settings: Any) -> FlaskClient:
    app = client_of(site, **settings).application
    app.test_client_class = Reader
    return app.test_client()


@pytest.fixture(scope="module")
def client(hub_site: Site) -> FlaskClient:
    return reader_of(hub_site)


@pytest.fixture(scope="module")
def view(client: FlaskClient) -> str:
    made: str = client.post("/api/v1/views/", json={"viewconf": VIEWCONF}).json["id"]
    return made


def text_of(client: FlaskClient, url: str) -> str:
    """A text as UCSC reads it: how long it is, then its parts."""
    assert url.startswith(HOST)
    head = client.head(url)
    assert (head.status_code, head.headers["Accept-Ranges"]) == (200, "bytes"), url
    size = int(head.headers["Content-Length"])
    parts = []
    for start in range(0, size, 400):
        answer = client.get(url, headers={"Range": f"bytes={start}-{min(start + 400, size) - 1}"})
        assert answer.status_code == 206, url
        parts.append(answer.data)
    assert b"".join(parts) == client.get(url).data
    return b"".join(parts).decode()


def check_file(client: FlaskClient, url: str, folder: Path) -> None:
    """Read a file as a browser does, by ranges, and open what came together."""
    size = int(client.head(url).headers["Content-Length"])
    parts = [client.get(url, headers={"Range": f"bytes={at}-{at + 9_999}"}) for at in range(0, size, 10_000)]
    assert {part.status_code for part in parts} == {206}
    path = folder / urlsplit(url).path.rpartition("/")[2]
    path.write_bytes(b"".join(part.data for part in parts))
    if path.suffix == ".bw":
        with pyBigWig.open(str(path)) as bigwig:
            assert bigwig.chroms() == SIZES
            assert bigwig.stats("chr1", type="max")[0] > 0
    else:
        assert pybigtools.open(str(path)).chroms() == SIZES


def test_the_hub_passes_hubcheck(client: FlaskClient) -> None:
    hub = check_hub(lambda url: text_of(client, url), HUB)
    assert hub.settings["longLabel"] == "Genomics of K562"
    assert hub.settings["email"] == "webmaster@localhost"
    tracks = hub.tracks["hg38"]
    assert list(hub.tracks) == ["hg38"], "UCSC has no sequence of the other"
    assert set(tracks) == {
        "observed_bigWig", "predicted_bigWig", "observed_bigBed", "ENCFF136DBS", "far", "peaks", "t1_odd",
    } | {name for name in tracks if name.startswith("k562_t0")}  # fmt: skip
    assert sum(name.startswith("k562_t0") for name in tracks) == 2
    assert tracks["peaks"]["type"] == "bigBed 6"


def test_limits_are_the_headers(client: FlaskClient, hub_site: Site) -> None:
    track = check_hub(lambda url: text_of(client, url), HUB).tracks["hg38"]["ENCFF136DBS"]
    with pyBigWig.open(str(hub_site.inside(hub_site.catalogue.tileset("ENCFF136DBS").path))) as bigwig:
        low, high = bigwig.header()["minVal"], bigwig.header()["maxVal"]
    _, least, most = track["type"].split()
    # pyBigWig rounds its header's down to whole numbers
    assert (int(float(least)), int(float(most))) == (low, high)
    assert track["viewLimits"] == f"0:{most}"


def test_facets_are_metadata_and_subgroups(client: FlaskClient) -> None:
    tracks = check_hub(lambda url: text_of(client, url), HUB).tracks["hg38"]
    assert 'biosample="K562"' in tracks["ENCFF136DBS"]["metadata"]
    assert tracks["observed_bigWig"]["dimensions"] == "dimX=assay dimY=biosample"
    assert "liver_adult=liver,_adult" in tracks["observed_bigWig"]["subGroup2"]
    assert tracks["t1_odd"]["subGroups"] == "assay=CAGE biosample=liver_adult strand=plus"
    assert tracks["ENCFF136DBS"]["color"] != next(
        track["color"] for track in tracks.values() if track.get("parent", "").startswith("predicted")
    )


@pytest.mark.parametrize("part", ["", "?view={view}", "?d=peaks&d=k562-t0"])
def test_every_file_of_a_hub_opens(client: FlaskClient, view: str, tmp_path: Path, part: str) -> None:
    query = part.format(view=view)
    hub = check_hub(lambda url: text_of(client, url), HUB + query)
    igv = read_igv(client.get(f"/api/v1/hub/igv.xml{query}").text)
    jbrowse = check_jbrowse(client.get(f"/api/v1/hub/jbrowse.json{query}").json)
    washu = check_washu(client.get(f"/api/v1/hub/washu.json{query}").json)
    own = {url for url in hub.files() if url.startswith(HOST)}
    assert set(hub.files()) - own == ({"https://data.example.org/far.bigWig"} if not query else set())
    assert len(own) == {"": 5, "?view={view}": 2, "?d=peaks&d=k562-t0": 2}[part]
    assert set(hub.files()) == set(washu) == {track["url"] for track in igv.tracks}
    assert set(jbrowse) - set(washu) == ({f"{HOST}/api/v1/files/mine.bw"} if not query else set())
    for url in own:
        check_file(client, url, tmp_path)


def test_a_view_keeps_its_order_and_its_place(client: FlaskClient, view: str) -> None:
    session = read_igv(client.get(f"/api/v1/hub/igv.xml?view={view}").text)
    assert [track["name"] for track in session.tracks] == ["DNASE K562", "DNase K562"]
    assert session.locus == "chr2:1-10000", "of what it shows of two chromosomes the larger part"
    shown = client.get(f"/api/v1/hub/jbrowse.json?view={view}").json["defaultSession"]["views"][0]
    assert [track["configuration"] for track in shown["tracks"]] == ["k562-t0", "ENCFF136DBS"]
    assert shown["displayedRegions"][0]["refName"] == "chr2"


def test_links_open_what_they_say(client: FlaskClient, view: str) -> None:
    result = client.get(f"/api/v1/open/?view={view}&locus=chr1:1,001-2,000").json
    assert (result["assembly"], result["locus"], result["tracks"]) == ("hg38", "chr1:1001-2000", 2)
    ucsc = parse_qs(urlsplit(result["ucsc"]).query)
    assert (ucsc["db"], ucsc["position"]) == (["hg38"], ["chr1:1001-2000"])
    assert len(list(check_hub(lambda url: text_of(client, url), ucsc["hubUrl"][0]).files())) == 2
    for browser, word in (("igv", "sessionURL"), ("igv_desktop", "file")):
        session = read_igv(client.get(parse_qs(urlsplit(result[browser]).query)[word][0]).text)
        assert (session.genome, session.locus, len(session.tracks)) == ("hg38", "chr1:1001-2000", 2)
    jbrowse = parse_qs(urlsplit(result["jbrowse"]).query)
    ids = {track["trackId"] for track in client.get(jbrowse["config"][0]).json["tracks"]}
    assert jbrowse["tracks"] == ["k562-t0,ENCFF136DBS"] and set(jbrowse["tracks"][0].split(",")) == ids
    washu = parse_qs(urlsplit(result["washu"]).query)
    assert washu["genome"] == ["hg38"] and len(check_washu(client.get(washu["hub"][0]).json)) == 2
    assert [left["uid"] for left in result["left_out"]] == ["genes-hg38", f"fx-{'0' * 20}-0-delta", "theirs"]
    assert all(left["reason"] for left in result["left_out"])


def test_what_cannot_be_shown_is_said(client: FlaskClient) -> None:
    result = client.get("/api/v1/open/").json
    assert {left["uid"] for left in result["left_out"]} == LEFT_OUT
    assert "secret" not in json.dumps(result)
    assert "10.0.0.5" not in json.dumps(result)
    assert "5 of 12 tilesets are left out." in result["note"]
    assert "1 more are on another assembly than hg38." in result["note"]
    assert "UCSC reads tracks from its own machines" in result["note"], "it is a server on localhost"
    named = client.get("/api/v1/open/?d=visitor&d=contacts").json
    assert (named["tracks"], [left["uid"] for left in named["left_out"]]) == (1, ["contacts"])


def test_a_public_server_is_not_warned_of(client: FlaskClient) -> None:
    result = client.get("/api/v1/open/?d=peaks", base_url="https://tracks.example.org").json
    assert result["note"] == ""
    assert "https%3A%2F%2Ftracks.example.org%2Fapi" in result["ucsc"]
    plain = client.get("/api/v1/open/?d=peaks", base_url="http://tracks.example.org").json
    assert "serve this site over https" in plain["note"]


def test_an_assembly_that_ucsc_does_not_know(client: FlaskClient) -> None:
    result = client.get("/api/v1/open/?d=mine").json
    assert [result[name] for name in ("ucsc", "igv", "igv_desktop", "washu")] == [None] * 4
    assert "do not know the assembly 'own'" in result["note"]
    for route in ("ucsc/genomes.txt", "ucsc/own/trackDb.txt", "igv.xml", "washu.json"):
        answer = client.get(f"/api/v1/hub/{route}?d=mine&assembly=own")
        assert (answer.status_code, answer.json["code"]) == (400, "assembly_not_shown"), route
    shown = client.get("/api/v1/hub/jbrowse.json?d=mine").json
    check_jbrowse(shown)
    sizes = shown["assemblies"][0]["sequence"]["adapter"]["chromSizesLocation"]["uri"]
    assert client.get(sizes).text == "chr1\t70000\nchr2\t31000\n"


def test_nothing_to_open(client: FlaskClient) -> None:
    result = client.get("/api/v1/open/?d=contacts").json
    assert (result["ucsc"], result["jbrowse"], result["tracks"]) == (None, None, 0)
    assert result["note"].startswith("No other genome browser")


@pytest.mark.parametrize("query", ["?view={view}", "?d=peaks&d=contacts", ""])
def test_higlass_elsewhere(client: FlaskClient, view: str, query: str) -> None:
    conf = client.get(f"/api/v1/hub/higlass.json{query.format(view=view)}").json
    if "view=" not in query:
        higlass_schema.Viewconf.model_validate(conf)
    servers = {track["server"] for track in conf["views"][0]["tracks"]["top"] if "server" in track}
    assert servers <= {f"{HOST}/api/v1", "https://other.org/api/v1"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?d=nosuch", 404, "unknown_tileset"),
        ("?view=nosuch", 404, "unknown_view"),
        ("?assembly=hg99", 404, "unknown_assembly"),
        ("?locus=chr1:1-99999999", 400, "bad_locus"),
        ("?view={view}&d=peaks", 400, "invalid_request"),
    ],
)
def test_bad_questions(client: FlaskClient, view: str, query: str, status: int, code: str) -> None:
    answer = client.get(f"/api/v1/open/{query.format(view=view)}")
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_a_view_that_says_nothing_of_use(client: FlaskClient) -> None:
    for domain in ([10**400, -(10**400)], ["1", 2], [1], {}, [5, 5], None, [True, False]):
        conf = {"views": [{"uid": "v", "initialXDomain": domain, "tracks": {"top": [{"tilesetUid": "peaks"}]}}]}
        made = client.post("/api/v1/views/", json={"viewconf": conf}).json["id"]
        assert client.get(f"/api/v1/open/?view={made}").json["locus"] is None
    for odd in ("v", 5, [], None):
        made = client.post("/api/v1/views/", json={"viewconf": {"views": [odd]}}).json["id"]
        assert client.get(f"/api/v1/open/?view={made}").json["tracks"] == 0


def test_ranges_of_a_file(client: FlaskClient, hub_site: Site) -> None:
    data = hub_site.inside(hub_site.catalogue.tileset("k562-t0").path).read_bytes()
    url = "/api/v1/files/k562-t0.bw"
    whole = client.get(url)
    assert (whole.status_code, whole.data) == (200, data)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert client.get("/api/v1/files/k562-t0").data == data
    head = client.head(url)
    assert (head.status_code, head.data, int(head.headers["Content-Length"])) == (200, b"", len(data))
    for span, start, end in (("0-99", 0, 100), (f"{len(data) - 5}-", len(data) - 5, len(data)),
                              ("-7", len(data) - 7, len(data)), (f"10-{10**9}", 10, len(data))):  # fmt: skip
        part = client.get(url, headers={"Range": f"bytes={span}"})
        assert (part.status_code, part.data) == (206, data[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(data)}"
    beyond = client.get(url, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.json["status"]) == (416, 416)
    same = client.get(url, headers={"If-None-Match": whole.headers["ETag"]})
    assert same.status_code == 304
    other = client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status_code, len(other.data)) == (200, len(data)), "the file was replaced meanwhile"


def test_other_origins_may_ask_for_ranges(client: FlaskClient) -> None:
    url, origin = "/api/v1/files/k562-t0.bw", {"Origin": "https://igv.org"}
    headers = origin | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    preflight = client.options(url, headers=headers)
    assert preflight.status_code == 200
    assert "range" in preflight.headers["Access-Control-Allow-Headers"].lower()
    part = client.get(url, headers=origin | {"Range": "bytes=0-9"})
    assert part.headers["Access-Control-Allow-Origin"] == "*"
    assert {"content-range", "content-length", "accept-ranges"} <= {
        name.strip() for name in part.headers["Access-Control-Expose-Headers"].lower().split(",")
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nosuch", "unknown_tileset"),
        ("nosuch.bw", "unknown_tileset"),
        ("k562-t0.bb", "no_file"),
        ("contacts", "no_file"),
        ("far.bw", "no_file"),
        ("gone.bw", "no_file"),
        ("genes-hg38", "no_file"),
        ("..%2f..%2ftrackserver.toml", "not_found"),
        ("%2e%2e", "unknown_tileset"),
        ("../catalogue.sqlite", "not_found"),
        ("tilesets/peaks.bb", "not_found"),
    ],
)
def test_files_that_are_not_to_be_had(client: FlaskClient, name: str, code: str) -> None:
    answer: Any = client.get(f"/api/v1/files/{name}")
    assert (answer.status_code, answer.json["code"]) == (404, code)
    assert set(answer.json) == {"error", "code", "status"}


def test_a_site_that_keeps_its_files(tmp_path: Path) -> None:
    site = make_hub_site(tmp_path / "stored", contact="lab@example.org")
    client = reader_of(site, serve_files=False)
    answer = client.get("/api/v1/files/k562-t0.bw")
    assert (answer.status_code, answer.json["code"]) == (404, "no_file")
    assert "serve_files" in answer.json["error"]
    hub = check_hub(lambda url: text_of(client, url), HUB)
    assert list(hub.files()) == ["https://data.example.org/far.bigWig"]
    assert hub.settings["email"] == "lab@example.org"
    assert "k562-t0" in {left["uid"] for left in client.get("/api/v1/open/").json["left_out"]}


def test_where_the_site_opens(tmp_path: Path) -> None:
    site = make_hub_site(tmp_path / "opens")
    client = reader_of(site, locus="chr2:1kb-2kb")
    assert client.get("/api/v1/open/").json["locus"] == "chr2:1000-2000"
    assert client.get("/api/v1/open/?assembly=own").json["locus"] is None
