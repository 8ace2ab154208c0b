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
from trackserver.notebook import DRAWN, tracks
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
def test_tilesets_are_what_higlass_makes_of_them(server: str, suffix: str) -> None:
    tilesets = trackserver.higlass(f"{server}{suffix}")
    assert {"signal", "genes-tiny", "chromsizes-tiny"} <= set(tilesets)
    assert tilesets["signal"] == hg.remote("signal", f"{server}/api/v1", "DNase K562")


def test_a_view_of_them_is_valid_and_leads_to_tiles(server: str) -> None:
    signal = trackserver.higlass(server)["signal"].track("line", height=80)
    (genes,) = tracks(server, "genes-tiny")
    view = hg.view(signal, genes, width=12).domain(x=[0, 70_000])
    written = json.loads(view.viewconf().model_dump_json(exclude_none=True))
    hg.Viewconf.model_validate(written)
    drawn = written["views"][0]["tracks"]["top"]
    assert [(track["type"], track["options"]["name"]) for track in drawn] == [
        ("line", "DNase K562"), ("gene-annotations", "Genes (tiny)"),
    ]  # fmt: skip
    for track in drawn:
        with urllib.request.urlopen(f"{track['server']}/tileset_info/?d={track['tilesetUid']}") as answer:
            assert json.load(answer)[track["tilesetUid"]]["max_pos"] == [113_345]


def test_each_kind_has_its_form(server: str) -> None:
    signal, sizes = tracks(server, "signal", "chromsizes-tiny")
    assert (signal.type, signal.options["valueScaleMin"], sizes.type) == ("bar", 0, "chromosome-labels")
    for form, height, options in DRAWN.values():
        track = hg.remote("x", server, "X").track(form, height=height).opts(**options)
        assert hg.view(track).viewconf().views  # it has a place of its own


def test_what_is_not_there(server: str) -> None:
    with pytest.raises(UnknownTileset):
        tracks(server, "nothing")
    with pytest.raises(Unavailable, match="no catalogue"):
        trackserver.higlass(f"{server}/elsewhere")
    with pytest.raises(Unavailable, match="no catalogue"):
        trackserver.higlass("http://127.0.0.1:1")
    with pytest.raises(InvalidRequest, match="one reads http"):
        trackserver.higlass("localhost:8989")
