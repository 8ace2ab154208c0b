from __future__ import annotations

import gzip
import json

import pytest
from flask.testing import FlaskClient

from trackserver.web.pages import STATIC

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
TILES = "/api/v1/tiles/?d=signal.0.0&d=signal.3.2&d=genes-tiny.0.0"


def test_tiles_are_compressed_where_the_client_takes_it(client: FlaskClient) -> None:
    plain, packed = client.get(TILES), client.get(TILES, headers=GZIP)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data)
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    posted = client.post(TILES, json=[], headers=GZIP)
    assert gzip.decompress(posted.data) == plain.data


@pytest.mark.parametrize("accepts", ["identity", "gzip;q=0", "deflate, br", "*;q=0"])
def test_not_where_it_does_not(client: FlaskClient, accepts: str) -> None:
    assert "Content-Encoding" not in client.get(TILES, headers={"Accept-Encoding": accepts}).headers


def test_what_is_small_travels_as_it_is(client: FlaskClient) -> None:
    answer = client.get("/api/v1/chrom-sizes/", headers=GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert client.get("/api/v1/nothing/", headers=GZIP).json["code"] == "not_found"


def test_head_says_what_get_would_send(client: FlaskClient) -> None:
    for headers in ({}, GZIP):
        got, head = client.get("/api/v1/tilesets/", headers=headers), client.head("/api/v1/tilesets/", headers=headers)
        assert head.data == b""
        for name in ("Content-Length", "ETag", "Vary", "Content-Type"):
            assert got.headers[name] == head.headers[name]


def test_what_the_client_has_already_is_not_sent_again(client: FlaskClient) -> None:
    for headers in ({}, GZIP):
        tag = client.get("/api/v1/tilesets/", headers=headers).headers["ETag"]
        assert tag.startswith('W/"')
        again = client.get("/api/v1/tilesets/", headers={**headers, "If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
        assert (again.headers["Vary"], again.headers["Cache-Control"]) == ("Accept-Encoding", "no-cache")
        other = client.get("/api/v1/tilesets/?limit=1", headers={**headers, "If-None-Match": tag})
        assert other.status_code == 200
    assert "ETag" not in client.get(TILES).headers


def test_the_pages_own_files_are_compressed_too(client: FlaskClient) -> None:
    script = next((STATIC / "assets").glob("*.js"), None) if STATIC.is_dir() else None
    if script is None:
        pytest.skip("the page has not been built: make install")
    url = f"/static/assets/{script.name}"
    packed = client.get(url, headers=GZIP, buffered=True)
    assert gzip.decompress(packed.data) == script.read_bytes()
    again = client.get(url, headers={**GZIP, "If-None-Match": packed.headers["ETag"]}, buffered=True)
    assert (again.status_code, again.data) == (304, b"")
    part = client.get(url, headers={**GZIP, "Range": "bytes=0-9"}, buffered=True)
    assert (part.status_code, part.data) == (206, script.read_bytes()[:10])


def test_compressed_json_is_still_strict(client: FlaskClient) -> None:
    text = gzip.decompress(client.get(TILES, headers=GZIP).data)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
