"""The catalogue, or a part of it, for other genome browsers: hubs, sessions, and the files they name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request, send_file, url_for

from trackserver.catalogue.search import search
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.viewconf import locus_in, served_from
from trackserver.errors import InvalidRequest, NoFile
from trackserver.genome.locus import Locus
from trackserver.hubs import higlass, igv, jbrowse, links, ucsc, washu
from trackserver.hubs.hub import (
    ENDINGS,
    Addresses,
    Chosen,
    Hub,
    drawn_by,
    is_shown_elsewhere,
    local_file,
    make_hub,
    name_elsewhere,
    named,
    plain,
    whole_catalogue,
)
from trackserver.web.state import here

blueprint = Blueprint("hubs", __name__, url_prefix="/api/v1")


@blueprint.get("/files/<uid>", defaults={"ending": ""})
@blueprint.get("/files/<uid>.<ending>")
def file(uid: str, ending: str) -> Response:
    """A tileset's bigWig or bigBed, whole or by ranges; with the ending by which browsers tell its kind."""
    path = local_file(here().site, uid)
    expected = ENDINGS[here().site.catalogue.tileset(uid).filetype]
    if ending not in ("", expected):
        raise NoFile(uid, f"it ends in .{expected}")
    return send_file(path, mimetype="application/octet-stream", download_name=f"{uid}.{expected}", conditional=True)


@blueprint.get("/hub/ucsc/hub.txt")
def hub_txt() -> Response:
    settings = here().site.settings
    contact = settings.contact or f"webmaster@{urlsplit(request.host_url).hostname}"
    return _text(ucsc.hub_txt(settings.title, contact, _address("hubs.genomes_txt")), "text/plain")


@blueprint.get("/hub/ucsc/genomes.txt")
def genomes_txt() -> Response:
    """The assemblies that UCSC knows; where there is none, the error says so."""
    assemblies = _hub().assemblies
    known = [name for name in assemblies if is_shown_elsewhere(name)] or assemblies
    track_dbs = {assembly: _address("hubs.track_db", assembly=assembly) for assembly in known}
    return _text(ucsc.genomes_txt(track_dbs), "text/plain")


@blueprint.get("/hub/ucsc/<assembly>/trackDb.txt")
def track_db(assembly: str) -> Response:
    here().site.assembly(assembly)
    name_elsewhere(assembly)
    tracks = _hub().on(assembly)
    headers = here().headers.of(track.record for track in tracks)
    return _text(ucsc.track_db(tracks, headers), "text/plain")


@blueprint.get("/hub/igv.xml")
def igv_session() -> Response:
    hub = _hub()
    assembly = _assembly(hub)
    return _text(igv.igv(hub.on(assembly), assembly, _locus(assembly)), "application/xml")


@blueprint.get("/hub/jbrowse.json")
def jbrowse_config() -> Response:
    """Every assembly of the tracks, the one that is asked for first."""
    hub = _hub()
    first = _assembly(hub)
    names = dict.fromkeys([first, *hub.assemblies])
    assemblies = [here().site.assembly(name) for name in names]
    return jsonify(jbrowse.jbrowse(hub.tracks, assemblies, _addresses(), _locus(first)))


@blueprint.get("/hub/washu.json")
def washu_datahub() -> Response:
    hub = _hub()
    assembly = _assembly(hub)
    name_elsewhere(assembly)
    return jsonify(washu.washu(hub.on(assembly)))


@blueprint.get("/hub/higlass.json")
def higlass_view() -> Response:
    """A kept view as it is, or one made of tilesets; HiGlass reads this server's tiles, so of every kind."""
    site, server = here().site, _server()
    if view := request.args.get("view"):
        return jsonify(served_from(site.catalogue.view(view).viewconf, server))
    chosen = _chosen()
    assembly = _assembly(make_hub(site, chosen, _addresses()))
    records = [record for record in chosen.records if record.assembly == assembly][: chosen.opened]
    return jsonify(higlass.higlass(records, site, site.assembly(assembly), _locus(assembly), server))


@blueprint.get("/open/")
def open_() -> Response:
    """The links that open these tracks in other browsers; a browser that does not know the assembly has none."""
    hub = _hub()
    assembly = _assembly(hub)
    locus = _locus(assembly)
    words = {"assembly": assembly} | ({"locus": plain(locus)} if locus else {})
    files = links.Files(
        ucsc=_address("hubs.hub_txt"),
        igv=_address("hubs.igv_session", **words, form=".xml"),  # IGV Desktop tells a session by how its address ends
        jbrowse=_address("hubs.jbrowse_config", **words),
        washu=_address("hubs.washu_datahub", assembly=assembly),
    )
    found = links.browser_links(hub.on(assembly), assembly, locus, files)
    return jsonify(
        **{browser: found.get(browser) for browser in ("ucsc", "igv", "igv_desktop", "jbrowse", "washu")},
        higlass=_address("hubs.higlass_view", **words),
        assembly=assembly,
        locus=words.get("locus"),
        tracks=len(hub.on(assembly)),
        left_out=[left._asdict() for left in hub.left_out],
        note=" ".join(links.notes(hub, assembly, _server())),
    )


def _hub() -> Hub:
    return make_hub(here().site, _chosen(), _addresses())


def _chosen() -> Chosen:
    """What the query asks for: a kept view's tracks, tilesets by uid, else the whole catalogue."""
    site, view, uids = here().site, request.args.get("view"), request.args.getlist("d")
    if view and uids:
        raise InvalidRequest("Ask for the tracks of a view ('view') or for tilesets ('d'), not for both.")
    if view:
        return drawn_by(site, site.catalogue.view(view))
    return named(site, uids) if uids else whole_catalogue(site)


def _assembly(hub: Hub) -> str:
    """The assembly asked for, else the tracks' first, else the site's own."""
    name = request.args.get("assembly") or next(iter(hub.assemblies), here().site.default_assembly)
    return here().site.assembly(name).name


def _locus(assembly: str) -> Locus | None:
    """Where to look: as asked, else as the view does, else where the site opens, if it is on this assembly."""
    site = here().site
    text = request.args.get("locus")
    if not text and (view := request.args.get("view")):
        return locus_in(site.catalogue.view(view).viewconf, site.assembly(assembly))
    text = text or (site.settings.locus if assembly == site.default_assembly else "")
    if not text:
        return None
    found = search(site, text, assembly)
    return Locus(found["chrom"], found["start"], found["end"])


def _addresses() -> Addresses:
    return Addresses(_file_address, lambda assembly: f"{_server()}/chrom-sizes/?id=chromsizes-{assembly}")


def _file_address(record: TilesetRecord) -> str | None:
    if not here().site.settings.serve_files:
        return None
    return url_for("hubs.file", uid=record.uid, ending=ENDINGS[record.filetype], _external=True)


def _address(endpoint: str, **words: Any) -> str:
    """The whole address of a route for the same tracks."""
    asked: dict[str, Any] = {name: request.args.getlist(name) for name in ("view", "d") if name in request.args}
    return url_for(endpoint, _external=True, **asked, **words)


def _server() -> str:
    return f"{request.host_url}api/v1"


def _text(text: str, mimetype: str) -> Response:
    """A text that can be asked for by ranges: UCSC reads a hub's texts by them too."""
    answer = Response(text, mimetype=mimetype)
    answer.make_conditional(request, accept_ranges=True, complete_length=len(text.encode()))
    return answer
