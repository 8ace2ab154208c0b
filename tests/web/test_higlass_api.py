"""HiGlass's protocol, as its client 2.3.5 speaks it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from tests.conftest import CHROMSIZES
from tests.tiles.test_multivec import write_multivec
from tests.tolerance import assert_close
from tests.web.conftest import finished
from trackserver.catalogue.open_tilesets import LOCAL_VERSION_TTL_S
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.tiles.grid import TILE_SIZE
from trackserver.tiles.wire import decode_dense


def test_tileset_info_of_a_known_and_an_unknown_uid(client: FlaskClient) -> None:
    """An unknown uid is an error under its key with status 200: anything else shows the user nothing."""
    answer = client.get("/api/v1/tileset_info/?d=signal&d=nothing&s=abc")
    assert answer.status_code == 200
    assert answer.json["signal"]["name"] == "DNase K562"
    assert "No tileset 'nothing'" in answer.json["nothing"]["error"]


@pytest.mark.parametrize("slash", ["/", ""])
def test_with_and_without_the_trailing_slash(client: FlaskClient, slash: str) -> None:
    answer = client.get(f"/api/v1/tileset_info{slash}?d=signal", follow_redirects=True)
    assert answer.json["signal"]["max_pos"] == [sum(CHROMSIZES.values())]


def test_get_tiles(client: FlaskClient) -> None:
    answer = client.get("/api/v1/tiles/?d=signal.0.0&d=signal.3.5&d=genes-tiny.0.0&s=x")
    assert set(answer.json) == {"signal.0.0", "signal.3.5", "genes-tiny.0.0"}
    assert len(decode_dense(answer.json["signal.3.5"])) == TILE_SIZE
    assert [gene["name"] for gene in answer.json["genes-tiny.0.0"]] == ["ALPHA1", "BETA", "ALPHA10"]


def test_post_gives_the_union_of_query_and_body(client: FlaskClient) -> None:
    body = [{"tilesetUid": "signal", "tileIds": ["1.0", "1.1"], "options": {"x": 1}}]
    answer = client.post("/api/v1/tiles/?d=genes-tiny.0.0&d=signal.1.0", json=body)
    assert set(answer.json) == {"genes-tiny.0.0", "signal.1.0", "signal.1.1"}


def test_one_bad_tile_is_one_bad_tile(client: FlaskClient) -> None:
    answer = client.get("/api/v1/tiles/?d=signal.0.0&d=signal.99.0&d=signal&d=what.0.0&d=signal.0.0.median&d=a%26b.0.0")
    assert answer.status_code == 200
    tiles = dict(answer.json)
    assert "dense" in tiles.pop("signal.0.0")
    assert {key: list(value) for key, value in tiles.items()} == {
        key: ["error"] for key in ("signal.99.0", "signal", "what.0.0", "signal.0.0.median", "a&b.0.0")
    }


def test_a_missing_delta_tile_is_a_full_array_of_gaps(client: FlaskClient) -> None:
    """HiGlass's divergent-bar track stops drawing at a tile without `dense`."""
    uid = f"fx-{'0' * 20}-1-delta"
    values = decode_dense(client.get(f"/api/v1/tiles/?d={uid}.0.0").json[f"{uid}.0.0"])
    assert len(values) == TILE_SIZE
    assert np.isnan(values).all()


def test_a_tile_of_rows_that_cannot_be_made_has_gaps_beside_its_error(
    client: FlaskClient, site: Site, tmp_path: Path
) -> None:
    """HiGlass's multivec track cannot let go of a tile that had no `dense`."""
    path = write_multivec(tmp_path / "rows.mv5", CHROMSIZES, n_rows=3)
    add_tileset(site, TilesetRecord("rows", "Rows", "observed", "tiny", str(path), filetype="multivec"))

    def gaps(tile: str) -> tuple[list[int], str]:
        output = client.get(f"/api/v1/tiles/?d={tile}").json[tile]
        assert np.isnan(decode_dense(output)).all()
        return output["shape"], output["error"]

    shape = client.get("/api/v1/tileset_info/?d=rows").json["rows"]["shape"]
    assert gaps("rows.99.0")[0] == shape[::-1]
    assert gaps("sequence-tiny.99.0")[0] == [6, TILE_SIZE]
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    assert "rows.mv5" in gaps("rows.0.0")[1]
    path.unlink()
    assert "rows.mv5" in gaps("rows.0.0")[1]
    path.write_bytes(whole)
    assert "error" not in client.get("/api/v1/tiles/?d=rows.0.0").json["rows.0.0"]


def test_a_file_that_is_cut_or_gone_is_an_error_in_its_track_and_heals(client: FlaskClient, site: Site) -> None:
    path = site.tilesets / "copy.bw"
    original = site.inside(site.catalogue.tileset("signal").path).read_bytes()
    path.write_bytes(original)
    add_tileset(site, TilesetRecord("copy", "Copy", "observed", "tiny", str(path)))
    whole = client.get("/api/v1/tiles/?d=copy.2.0").json["copy.2.0"]
    path.write_bytes(original[:3000])
    time.sleep(LOCAL_VERSION_TTL_S)
    cut = client.get("/api/v1/tiles/?d=copy.2.0&d=signal.2.0").json
    assert "copy.bw" in cut["copy.2.0"]["error"]
    assert "dense" in cut["signal.2.0"]
    path.unlink()
    time.sleep(LOCAL_VERSION_TTL_S)
    assert "missing" in client.get("/api/v1/tiles/?d=copy.2.0").json["copy.2.0"]["error"]
    # The client asks for this once: so it is answered, and the tiles say what is wrong.
    assert client.get("/api/v1/tileset_info/?d=copy").json["copy"]["max_zoom"] == 7
    path.write_bytes(original)
    assert client.get("/api/v1/tiles/?d=copy.2.0").json["copy.2.0"] == whole


def test_up_to_a_thousand_tiles_then_a_clear_refusal(client: FlaskClient) -> None:
    body = [{"tilesetUid": "signal", "tileIds": [f"17.{x}" for x in range(1000)]}]
    assert len(client.post("/api/v1/tiles/", json=body).json) == 1000
    body[0]["tileIds"].append("17.1000")
    answer = client.post("/api/v1/tiles/", json=body)
    assert (answer.status_code, "at most 1000" in answer.json["error"]) == (400, True)
    infos = client.get("/api/v1/tileset_info/?" + "&".join(f"d={number}" for number in range(1001)))
    assert (infos.status_code, "1001 tilesets in one request" in infos.json["error"]) == (400, True)


def test_chrom_sizes(client: FlaskClient) -> None:
    lines = client.get("/api/v1/chrom-sizes/?id=chromsizes-tiny").text
    assert lines == "".join(f"{name}\t{size}\n" for name, size in CHROMSIZES.items())
    cumulative = client.get("/api/v1/chrom-sizes/?id=signal&type=json&cum=1").json
    assert cumulative["chrC"] == {"size": 12_345, "offset": 101_000}
    assert client.get("/api/v1/available-chrom-sizes/").json["count"] == 1


def test_suggest(client: FlaskClient) -> None:
    answer = client.get("/api/v1/suggest/?d=genes-tiny&ac=alpha").json
    assert [(gene["geneName"], gene["chr"], gene["txStart"]) for gene in answer] == [
        ("ALPHA1", "chrA", 10_000), ("ALPHA10", "chrA", 40_000),
    ]  # fmt: skip
    assert client.get("/api/v1/suggest/?d=signal&ac=a").status_code == 404


def test_tilesets_lists_what_the_clients_dialog_reads(client: FlaskClient) -> None:
    everything = client.get("/api/v1/tilesets/?limit=10000").json
    assert everything["count"] == 4
    assert all(isinstance(entry["name"], str) and entry["uuid"] for entry in everything["results"])
    vectors = client.get("/api/v1/tilesets/?limit=10000&dt=vector&dt=matrix").json["results"]
    assert [entry["uuid"] for entry in vectors] == ["signal"]
    assert client.get("/api/v1/tilesets/?ac=dnase").json["count"] == 1
    assert client.get("/api/v1/tilesets/?offset=1&limit=1").json["count"] == 4
    assert client.get("/api/v1/tilesets/?limit=x").status_code == 400
    assert client.get("/api/v1/tilesets/signal/").json["biosample"] == "K562"


def test_predicted_and_measured_know_each_other(client: FlaskClient, site: Site) -> None:
    from trackserver.sweep.prediction import predict_tracks

    predict_tracks(site, "random", selection="0,1")
    listed = {entry["uuid"]: entry["pair"] for entry in client.get("/api/v1/tilesets/?limit=100").json["results"]}
    assert (listed["random-t0"], listed["signal"], listed["random-t1"]) == ("signal", "random-t0", None)


def test_preflight_and_cross_origin(client: FlaskClient) -> None:
    """Every HiGlass request carries Content-Type, so a notebook on another origin asks first."""
    headers = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "GET",
             "Access-Control-Request-Headers": "content-type,authorization"}  # fmt: skip
    answer = client.options("/api/v1/tiles/?d=signal.0.0", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


def test_an_effects_tiles_never_wait_for_the_model(client: FlaskClient, snv: str) -> None:
    response = client.post("/api/v1/effects/", json={"model": "random", "assembly": "tiny", "variants": [snv]})
    assert response.status_code == 202
    uid = f"fx-{response.json['id']}-0-delta"
    early = client.get(f"/api/v1/tiles/?d={uid}.0.0").json
    assert list(early) == [f"{uid}.0.0"]
    done = finished(client, response.json["id"])
    tracks = {track["index"]: track for track in done["tracks"]}
    ids = [f"{uid}.0.0" for uid in tracks[0]["tilesets"].values()]
    tiles = client.get("/api/v1/tiles/?" + "&".join(f"d={tile}" for tile in ids)).json
    ref, alt, delta = (decode_dense(tiles[tile]) for tile in ids)
    assert_close(delta, alt - ref, 1, scale=np.nanmax(np.abs(ref)), gaps=True)
    assert client.get(f"/api/v1/tileset_info/?d={uid}").json[uid]["name"] == "DNase K562 Δ"


def test_json_is_strict(client: FlaskClient) -> None:
    text = client.get("/api/v1/tiles/?d=signal.17.600&d=signal.0.0").text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
