from __future__ import annotations

import re

import schemathesis
from flask import Flask
from flask.testing import FlaskClient

from trackserver.web.openapi import ROUTES


def test_every_route_is_described_and_every_description_is_of_a_route(app: Flask) -> None:
    served = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert {(route.method, route.rule) for route in ROUTES} == served


def test_it_is_openapi(client: FlaskClient) -> None:
    described = client.get("/api/v1/openapi.json").json
    schemathesis.openapi.from_dict(described).validate()
    assert described["openapi"].startswith("3.1")
    body = described["paths"]["/api/v1/effects/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/EffectBody"}
    assert described["components"]["schemas"]["EffectBody"]["required"] == ["variants"]


def test_the_page_for_people_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert page.mimetype == "text/html"
    for route in ROUTES:
        assert f"<code>{route.path}</code>" in page.text
        assert route.summary in page.text.replace("&#39;", "'")
    assert not re.findall(r"""(?:src|href)=["'](?!/)""", page.text)
    assert "<script" not in page.text
