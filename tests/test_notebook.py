from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator

import higlass as hg
import pytest
from werkzeug.serving import make_server

import trackserver
from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, Unavailable, UnknownTileset
from trackserver.notebook import TRACK_STYLES, tracks
from trackserver.web import create_app


@pytest.fixture(scope="module")
def server(shared_site: Site) -> Iterator[str]:
    app = create_app(shared_site)
    with make_server("127.0.0.1", 0, app, threaded=True) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
def test_higlass_returns_tilesets_that_higlass_python_understands(server: str, suffix: str) -> None:
    tilesets = trackserver.higlass(f"{server}{suffix}")
    assert {"signal", "genes-tiny", "chromsizes-tiny"} <= set(tilesets)
    assert tilesets["signal"] == hg.remote("signal", f"{server}/api/v1", "DNase K562")


def test_a_view_is_valid_and_its_tilesets_can_be_read(server: str) -> None:
    signal = trackserver.higlass(server)["signal"].track("line", height=80)
    (genes,) = tracks(server, "genes-tiny")
    view = hg.view(signal, genes, width=12).domain(x=[0, 70_000])
    viewconf = json.loads(view.viewconf().model_dump_json(exclude_none=True))
    hg.Viewconf.model_validate(viewconf)
    drawn = viewconf["views"][0]["tracks"]["top"]
    assert [(track["type"], track["options"]["name"]) for track in drawn] == [
        ("line", "DNase K562"), ("gene-annotations", "Genes (tiny)"),
    ]  # fmt: skip
    for track in drawn:
        with urllib.request.urlopen(f"{track['server']}/tileset_info/?d={track['tilesetUid']}") as response:
            assert json.load(response)[track["tilesetUid"]]["max_pos"] == [113_345]


def test_every_track_style_can_be_drawn(server: str) -> None:
    signal, sizes = tracks(server, "signal", "chromsizes-tiny")
    assert (signal.type, signal.options["valueScaleMin"], sizes.type) == ("bar", 0, "chromosome-labels")
    for track_type, height, options in TRACK_STYLES.values():
        track = hg.remote("x", server, "X").track(track_type, height=height).opts(**options)
        assert hg.view(track).viewconf().views


def test_missing_tilesets_and_servers_are_errors(server: str) -> None:
    with pytest.raises(UnknownTileset):
        tracks(server, "nothing")
    with pytest.raises(Unavailable, match="no HiGlass server"):
        trackserver.higlass(f"{server}/elsewhere")
    with pytest.raises(Unavailable, match="no HiGlass server"):
        trackserver.higlass("http://127.0.0.1:1")
    with pytest.raises(InvalidRequest, match="write one such as http"):
        trackserver.higlass("localhost:8989")
