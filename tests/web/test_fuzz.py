"""Whatever is asked, the answer is no 5xx, and every error has the one shape."""

from __future__ import annotations

import gzip
import json
import logging
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from schemathesis.specs.openapi.checks import status_code_conformance as status_conformance
from werkzeug.test import TestResponse

from tests.conftest import make_site
from tests.web.test_register import client_of
from trackserver.tiles.tileset import TileId
from trackserver.web.openapi import ROUTES, Route

FEW = settings(
    max_examples=60, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
CHECKS = [not_a_server_error, status_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[FlaskClient]:
    """Of a site that takes addresses, though from one host only, where nothing listens; nobody computes."""
    site = make_site(tmp_path_factory.mktemp("fuzz") / "site", files)
    client = client_of(site, register_url=True, remote_hosts=["127.0.0.1:9"], remote_private=True, queue_length=3)
    logging.getLogger("trackserver").setLevel(logging.CRITICAL)
    yield client
    logging.getLogger("trackserver").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def app(client: FlaskClient) -> Flask:
    app: Flask = client.application
    app.extensions["trackserver"].jobs.start = lambda: None
    return app


def check(answer: TestResponse) -> Any:
    """The JSON of an answer, if it has some."""
    status = answer.status_code
    parsed = None
    if answer.mimetype == "application/json" and answer.data:
        packed = answer.headers.get("Content-Encoding") == "gzip"
        text = gzip.decompress(answer.data) if packed else answer.data
        parsed = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    if status >= 400 and not (status == 404 and answer.mimetype == "text/html"):
        assert set(parsed) == {"error", "code", "status"}, parsed
        assert parsed["status"] == status
        assert status < 500 or (status, parsed["code"]) in ((501, "not_offered"), (503, "queue_full")), parsed
    return parsed


@pytest.fixture(scope="module")
def described(app: Flask) -> Any:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


ROUTES_TESTED = [route for route in ROUTES if route.statuses and route.returns not in (("*/*",), ("image/svg+xml",))]


@pytest.mark.parametrize("route", ROUTES_TESTED, ids=lambda route: f"{route.method} {route.rule}")
def test_schemathesis_finds_nothing(described: Any, route: Route) -> None:
    @settings(FEW, max_examples=30)
    @given(case=described[route.path][route.method].as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers={"Accept-Encoding": "identity"})

    ask()


words = st.text(max_size=30)
uids = st.sampled_from(["signal", "genes-tiny", "chromsizes-tiny", "nothing", f"fx-{'0' * 20}-0-delta"]) | words
numbers = st.integers(-3, 20).map(str) | st.integers().map(str) | words
modifiers = st.sampled_from(["", "max", "min", "std", "mean", "default"]) | words
tile_ids = words | st.builds(
    lambda parts, modifier: ".".join([*parts, modifier] if modifier else parts),
    st.tuples(uids, numbers, numbers) | st.tuples(uids, numbers, numbers, numbers),
    modifiers,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20) | tile_ids,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@FEW
@given(ids=st.lists(tile_ids, max_size=6))
@example(ids=["signal.0.0", "signal.٣.0", "signal.0.0\n", "signal.00.0", "signal.1e1.0", "a.b.c.d.e.f", ".", ""])
def test_tiles_of_any_ids(client: FlaskClient, ids: list[str]) -> None:
    for answer in (
        client.get("/api/v1/tiles/", query_string=[("d", text) for text in ids]),
        client.post("/api/v1/tiles/", query_string=[("d", text) for text in ids], json=[]),
    ):
        tiles = check(answer)
        assert answer.status_code == 200
        assert len(tiles) == len(set(ids))
    check(client.get("/api/v1/tileset_info/", query_string=[("d", text) for text in ids]))


@FEW
@given(tile=st.builds(TileId, st.just("signal"), st.integers(0, 99), st.integers(0, 10**10 - 1)))
def test_tiles_anywhere(client: FlaskClient, tile: TileId) -> None:
    assert list(check(client.get(f"/api/v1/tiles/?d={tile}"))) == [str(tile)]


@FEW
@given(
    predicted=st.just("signal") | uids,
    observed=st.just("signal") | uids,
    loci=st.lists(words | st.builds("chr{}:{}-{}".format, st.sampled_from("ABCD"), numbers, numbers), max_size=3),
    width=st.none() | numbers,
    peaks=st.none() | uids,
)
@example(predicted="signal", observed="signal", loci=["chrA:1-70000", "chrC:1kb-2k"], width="1000000", peaks=None)
@example(predicted="signal", observed="signal", loci=["chrA:1-70000"], width="9" * 30, peaks="signal")
def test_agreement_of_anything(
    client: FlaskClient, predicted: str, observed: str, loci: list[str], width: str | None, peaks: str | None
) -> None:
    words = {"predicted": predicted, "observed": observed, "locus": loci, "bin": width, "peaks": peaks}
    check(client.get("/api/v1/agreement/", query_string={name: value for name, value in words.items() if value}))


@FEW
@given(
    path=st.sampled_from([route.path for route in ROUTES if route.method == "GET"]),
    parameter=words | st.sampled_from(["..", "x" * 300, "\0", "a\nb", "%2e%2e", "random"]),
    query=st.lists(
        st.tuples(st.sampled_from("d ac t dt o r q id type cum limit offset assembly".split()) | words, words)
    ),
    raw=st.binary(max_size=20),
)
def test_any_query_and_any_path(
    client: FlaskClient, path: str, parameter: str, query: list[tuple[str, str]], raw: bytes
) -> None:
    for name in ("uid", "model_id", "effect_id", "job_id", "view_id", "filename"):
        path = path.replace(f"{{{name}}}", quote(parameter, safe=""))
    check(client.get(path, query_string=query, buffered=True))
    check(client.get(path, query_string=quote(raw, safe="=&"), buffered=True))


POSTED: dict[str, dict[str, Any]] = {
    "/api/v1/effects/": {"variants": ["chrA:20011:A:C"], "model": "random", "tracks": "0", "shifts": [0]},
    "/api/v1/register_url/": {"fileurl": "http://127.0.0.1:9/x.bw", "filetype": "bigwig", "coordSystem": "tiny"},
    "/api/v1/views/": {"viewconf": {"views": [{"uid": "v"}]}, "title": "x"},
    "/api/v1/viewconfs/": {"viewconf": {"views": [{"uid": "v"}]}, "uid": "x"},
}


@FEW
@given(path=st.sampled_from(sorted(POSTED)), data=st.data(), raw=st.binary(max_size=40))
def test_any_body(client: FlaskClient, app: Flask, path: str, data: st.DataObject, raw: bytes) -> None:
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(POSTED[path])) | words, values, max_size=3))
    for sent in (POSTED[path] | changed, changed, data.draw(values)):
        check(client.post(path, data=json.dumps(sent), content_type="application/json"))
    check(client.post(path, data=raw))
    check(client.post("/api/v1/tiles/", data=json.dumps(data.draw(values))))
    check(client.post("/api/v1/tiles/", data=json.dumps([{"tilesetUid": "signal", "tileIds": data.draw(values)}])))
    check(client.post("/api/v1/tiles/", data=raw))


@pytest.mark.parametrize("path", [*POSTED, "/api/v1/tiles/"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"9" * 10_000, b'{"viewconf": {"views": [1e999]}}',
        b'{"viewconf": {"views": [NaN]}}', b'{"viewconf": {"views": ["\\ud800"]}}', b'{"title": "\\u0000"}',
        b'{"viewconf": "{\\"views\\": [1e999]}"}', b'{"viewconf": {"views": ["\\u0000"]}}', b"\xff\xfe{}", b"",
        b'[{"tilesetUid": "\\ud800", "tileIds": ["0.0"]}]', b'[{"tilesetUid": {}, "tileIds": {"a": 1}}]',
    ],
)  # fmt: skip
def test_bodies_that_break_parsers(client: FlaskClient, path: str, body: bytes) -> None:
    check(client.post(path, data=body, content_type="application/json"))


HEADERS = (
    "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Cookie", "Host", "If-Match", "If-Modified-Since",
    "If-None-Match", "If-Range", "Origin", "Range", "X-Forwarded-Host", "X-HTTP-Method-Override",
)  # fmt: skip
printable = st.text(string.ascii_letters + string.digits + ' "*,;:=/-_.()[]{}<>@%\t\xe9', max_size=40)
telling = st.sampled_from(
    ["*", 'W/"x"', "bytes=0-", "bytes=-1", "bytes=9-1", "gzip;q=x", "gzip;q=0.5, *;q=0", "identity;q=0", "text/html"]
)


@FEW
@given(
    path=st.sampled_from(
        ["/", "/api/v1/tiles/?d=signal.0.0", "/api/v1/tilesets/", "/static/favicon.svg", "/docs", "/metrics"]
    ),
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "NONSENSE"]),
    headers=st.dictionaries(st.sampled_from(HEADERS), printable | telling, max_size=5),
)
def test_any_headers_and_methods(client: FlaskClient, path: str, method: str, headers: dict[str, str]) -> None:
    answer = client.open(path, method=method, headers=headers, buffered=True)
    if answer.status_code != 404 or path != "/":  # where the page has not been built
        check(answer) if method != "HEAD" else None
