"""Hubs, sessions and files of the catalogue for other genome browsers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request, send_file, url_for

from trackserver.catalogue.search import search
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.viewconf import locus_in, with_server
from trackserver.errors import InvalidRequest, NoFile
from trackserver.genome.locus import Locus
from trackserver.hubs import higlass, igv, jbrowse, links, ucsc, washu
from trackserver.hubs.hub import (
    EXTENSIONS,
    Addresses,
    Hub,
    TilesetSelection,
    format_locus,
    has_ucsc_name,
    local_file,
    make_hub,
    select_all,
    select_by_uid,
    select_by_view,
    ucsc_name,
)
from trackserver.web.state import here

blueprint = Blueprint("hubs", __name__, url_prefix="/api/v1")


@blueprint.get("/files/<uid>", defaults={"ending": ""})
@blueprint.get("/files/<uid>.<ending>")
def file(uid: str, ending: str) -> Response:
    """A tileset's bigWig or bigBed, whole or by ranges; some browsers need the extension to tell which."""
    path = local_file(here().site, uid)
    expected = EXTENSIONS[here().site.catalogue.tileset(uid).filetype]
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
    """The assemblies that UCSC supports; an error if it supports none of them."""
    assemblies = _hub().assemblies
    supported = [name for name in assemblies if has_ucsc_name(name)] or assemblies
    track_dbs = {assembly: _address("hubs.track_db", assembly=assembly) for assembly in supported}
    return _text(ucsc.genomes_txt(track_dbs), "text/plain")


@blueprint.get("/hub/ucsc/<assembly>/trackDb.txt")
def track_db(assembly: str) -> Response:
    here().site.assembly(assembly)
    ucsc_name(assembly)  # raises if UCSC does not support it
    tracks = _hub().on(assembly)
    headers = here().headers.read(track.record for track in tracks)
    return _text(ucsc.track_db(tracks, headers), "text/plain")


@blueprint.get("/hub/igv.xml")
def igv_session() -> Response:
    hub = _hub()
    assembly = _assembly(hub)
    return _text(igv.make_session(hub.on(assembly), assembly, _locus(assembly)), "application/xml")


@blueprint.get("/hub/jbrowse.json")
def jbrowse_config() -> Response:
    """Every assembly of the tracks, the requested one first."""
    hub = _hub()
    first = _assembly(hub)
    names = dict.fromkeys([first, *hub.assemblies])
    assemblies = [here().site.assembly(name) for name in names]
    return jsonify(jbrowse.make_config(hub.tracks, assemblies, _addresses(), _locus(first)))


@blueprint.get("/hub/washu.json")
def washu_datahub() -> Response:
    hub = _hub()
    assembly = _assembly(hub)
    ucsc_name(assembly)  # raises if WashU does not support it
    return jsonify(washu.make_datahub(hub.on(assembly)))


@blueprint.get("/hub/higlass.json")
def higlass_view() -> Response:
    """A stored view as it is, or a view of tilesets; HiGlass reads this server's tiles, so it shows every kind."""
    site, server = here().site, _server()
    if view := request.args.get("view"):
        return jsonify(with_server(site.catalogue.view(view).viewconf, server))
    selection = _selection()
    assembly = _assembly(make_hub(site, selection, _addresses()))
    records = [record for record in selection.records if record.assembly == assembly][: selection.n_shown]
    return jsonify(higlass.make_viewconf(records, site, site.assembly(assembly), _locus(assembly), server))


@blueprint.get("/open/")
def open_() -> Response:
    """Links that open these tracks in other browsers; null for a browser that does not support the assembly."""
    hub = _hub()
    assembly = _assembly(hub)
    locus = _locus(assembly)
    query = {"assembly": assembly} | ({"locus": format_locus(locus)} if locus else {})
    files = links.FileAddresses(
        ucsc=_address("hubs.hub_txt"),
        igv=_address("hubs.igv_session", **query, form=".xml"),  # IGV Desktop wants an address that ends in .xml
        jbrowse=_address("hubs.jbrowse_config", **query),
        washu=_address("hubs.washu_datahub", assembly=assembly),
    )
    browser_links = links.browser_links(hub.on(assembly), assembly, locus, files)
    return jsonify(
        **{browser: browser_links.get(browser) for browser in ("ucsc", "igv", "igv_desktop", "jbrowse", "washu")},
        higlass=_address("hubs.higlass_view", **query),
        assembly=assembly,
        locus=query.get("locus"),
        tracks=len(hub.on(assembly)),
        left_out=[tileset._asdict() for tileset in hub.left_out],
        note=" ".join(links.notes(hub, assembly, _server())),
    )


def _hub() -> Hub:
    return make_hub(here().site, _selection(), _addresses())


def _selection() -> TilesetSelection:
    """The tracks of the view or the tilesets that the query names, else the whole catalogue."""
    site, view, uids = here().site, request.args.get("view"), request.args.getlist("d")
    if view and uids:
        raise InvalidRequest("Name a view ('view') or tilesets ('d'), not both.")
    if view:
        return select_by_view(site, site.catalogue.view(view))
    return select_by_uid(site, uids) if uids else select_all(site)


def _assembly(hub: Hub) -> str:
    """The requested assembly, else that of the first track, else the site's own."""
    name = request.args.get("assembly") or next(iter(hub.assemblies), here().site.default_assembly)
    return here().site.assembly(name).name


def _locus(assembly: str) -> Locus | None:
    """The requested locus, else the view's, else where the site opens if that is on this assembly."""
    site = here().site
    text = request.args.get("locus")
    if not text and (view := request.args.get("view")):
        return locus_in(site.catalogue.view(view).viewconf, site.assembly(assembly))
    text = text or (site.settings.locus if assembly == site.default_assembly else "")
    if not text:
        return None
    match = search(site, text, assembly)
    return Locus(match["chrom"], match["start"], match["end"])


def _addresses() -> Addresses:
    return Addresses(_file_address, lambda assembly: f"{_server()}/chrom-sizes/?id=chromsizes-{assembly}")


def _file_address(record: TilesetRecord) -> str | None:
    if not here().site.settings.serve_files:
        return None
    return url_for("hubs.file", uid=record.uid, ending=EXTENSIONS[record.filetype], _external=True)


def _address(endpoint: str, **query: Any) -> str:
    """Full address of a route for the same tracks."""
    tracks: dict[str, Any] = {name: request.args.getlist(name) for name in ("view", "d") if name in request.args}
    return url_for(endpoint, _external=True, **tracks, **query)


def _server() -> str:
    return f"{request.host_url}api/v1"


def _text(text: str, mimetype: str) -> Response:
    """A text that answers range requests, because UCSC reads a hub's texts by ranges too."""
    response = Response(text, mimetype=mimetype)
    response.make_conditional(request, accept_ranges=True, complete_length=len(text.encode()))
    return response
