from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from trackserver.catalogue.site import Site
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.web import create_app


@pytest.fixture
def app(site: Site) -> Flask:
    app = create_app(site)
    app.testing = False  # errors go through the one table, as in production
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def snv(site: Site) -> str:
    """A variant on chrA whose REF is read there."""
    ref = decode(site.reference("tiny").genome.codes(Locus("chrA", 20_010, 20_011)))
    return f"chrA:20011:{ref}:{'A' if ref != 'A' else 'C'}"


def finished(client: FlaskClient, effect_id: str) -> dict[str, Any]:
    """An effect once it is done or has failed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result: dict[str, Any] = client.get(f"/api/v1/effects/{effect_id}/").json or {}
        if result["status"] in ("done", "failed"):
            return result
        time.sleep(0.02)
    pytest.fail("the effect was not computed within a minute")
