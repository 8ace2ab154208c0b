from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient

from trackserver.web.state import State


def figures(client: FlaskClient) -> dict[str, float]:
    """Samples by name and labels."""
    text = client.get("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^([^#\s].*) (\S+)$", text, re.MULTILINE)}


def test_requests_are_timed_by_route(client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/api/v1/tiles/?d=signal.0.0")
    client.get("/api/v1/tilesets/nothing/")
    client.get("/nothing")
    result = figures(client)
    assert result['trackserver_request_seconds_count{method="GET",route="/api/v1/tiles/",status="200"}'] == 3
    assert result['trackserver_request_seconds_count{method="GET",route="/api/v1/tilesets/<uid>/",status="404"}'] == 1
    assert result['trackserver_request_seconds_count{method="GET",route="none",status="404"}'] == 1
    assert result["trackserver_jobs_waiting"] == 0


def test_tiles_and_caches_are_counted(app: Flask, client: FlaskClient) -> None:
    class Counted:
        hits, misses, bytes = 7, 3, 1000

    state: State = app.extensions["trackserver"]
    cache = Counted()
    state.metrics.watch("test", cache)
    state.metrics.count_tiles("test", 5)
    client.get("/healthz")
    cache.hits, cache.bytes = 9, 500
    result = figures(client)
    assert result['trackserver_tiles_total{kind="test"}'] == 5
    assert result['trackserver_cache_hits_total{cache="test"}'] == 9
    assert result['trackserver_cache_misses_total{cache="test"}'] == 3
    assert result['trackserver_cache_bytes{cache="test"}'] == 500
