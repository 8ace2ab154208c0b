"""HiGlass's own API: tileset_info, tiles, chrom-sizes, suggest, tilesets.

Two answers depart from the one error shape, because the client reads them otherwise: an unknown uid in
tileset_info, and a tile that cannot be made, are `{"error": …}` under their key in a 200. The Δ of an effect is
drawn by a track that cannot bear such a tile, so it gets a full array of gaps instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, request

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import CHROMSIZES, GENES, assembly_records, open_tileset, pairs
from trackserver.errors import InvalidRequest, TrackserverError, UnknownTileset
from trackserver.genome.genes import Gene
from trackserver.tiles import wire
from trackserver.tiles.annotation import importance
from trackserver.tiles.grid import TILE_SIZE
from trackserver.tiles.tileset import TileId, parse_tile_id
from trackserver.web.state import here

blueprint = Blueprint("higlass", __name__, url_prefix="/api/v1")
_log = logging.getLogger(__name__)


@blueprint.get("/tileset_info/")
def tileset_info() -> Response:
    return jsonify({uid: _info(here().site, uid) for uid in request.args.getlist("d")})


def _info(site: Site, uid: str) -> dict[str, Any]:
    try:
        return {"uid": uid, **open_tileset(site, uid).info()}
    except TrackserverError as error:
        return {"error": str(error)}


@blueprint.route("/tiles/", methods=["GET", "POST"])
def tiles() -> Response:
    """Tiles of the ids in the query and, where the client posts options, in the body: the union of both."""
    ids = list(dict.fromkeys([*request.args.getlist("d"), *_posted_ids()]))
    most = here().site.settings.max_tile_ids
    if len(ids) > most:
        raise InvalidRequest(f"{len(ids)} tiles in one request; this server gives at most {most} at a time.")
    return jsonify(_tiles(here().site, ids))


def _posted_ids() -> list[str]:
    if request.method != "POST" or not request.data:
        return []
    sent = request.get_json(force=True, silent=True)
    if not isinstance(sent, list) or not all(isinstance(item, dict) for item in sent):
        raise InvalidRequest("The body should be a list of {tilesetUid, tileIds}.")
    return [f"{item.get('tilesetUid')}.{tile}" for item in sent for tile in item.get("tileIds", [])]


def _tiles(site: Site, texts: Iterable[str]) -> dict[str, Any]:
    payloads: dict[str, Any] = {}
    asked: list[tuple[str, TileId]] = []
    for text in texts:
        try:
            asked.append((text, parse_tile_id(text)))
        except TrackserverError as error:
            payloads[text] = {"error": str(error)}
    for uid, group in groupby(sorted(asked, key=lambda item: item[1].uid), key=lambda item: item[1].uid):
        payloads.update(_tiles_of(site, uid, list(group)))
    return payloads


def _tiles_of(site: Site, uid: str, asked: list[tuple[str, TileId]]) -> dict[str, Any]:
    """One tileset's tiles; a fault is that tile's alone."""
    try:
        tileset = open_tileset(site, uid)
    except TrackserverError as error:
        return {text: _fault(uid, error) for text, _ in asked}
    payloads = {}
    for text, tile in asked:
        try:
            payloads[text] = tileset.tiles([tile])[0]
        except TrackserverError as error:
            payloads[text] = _fault(uid, error)
        except Exception as error:  # one tile's fault must not take the batch with it
            _log.exception("Tile %s", text)
            payloads[text] = _fault(uid, error)
    return payloads


def _fault(uid: str, error: Exception) -> dict[str, Any]:
    if uid.endswith("-delta"):
        return wire.dense(np.full(TILE_SIZE, np.nan, np.float32))
    return {"error": str(error) if isinstance(error, TrackserverError) else "This tile could not be made."}


@blueprint.get("/chrom-sizes/")
def chrom_sizes() -> Response:
    """`name<TAB>size` lines in drawing order; `type=json` with `cum=1` adds offsets."""
    uid = request.args.get("id", "")
    info = open_tileset(here().site, uid if uid else f"{CHROMSIZES}{here().site.default_assembly}").info()
    if request.args.get("type") != "json":
        lines = "".join(f"{name}\t{size}\n" for name, size in info["chromsizes"])
        return Response(lines, mimetype="text/tab-separated-values")
    sizes, offset = {}, 0
    for name, size in info["chromsizes"]:
        sizes[name] = {"size": size, "offset": offset} if request.args.get("cum") else {"size": size}
        offset += size
    return jsonify(sizes)


@blueprint.get("/available-chrom-sizes/")
def available_chrom_sizes() -> Response:
    results = [_listed(record, None) for record in assembly_records(here().site) if record.datatype == "chromsizes"]
    return jsonify(count=len(results), results=results)


@blueprint.get("/suggest/")
def suggest() -> Response:
    uid = request.args.get("d", "")
    name = uid.removeprefix(GENES)
    genes = here().site.genes(name) if uid.startswith(GENES) and name in here().site.assembly_names else None
    if genes is None:
        raise UnknownTileset(uid)
    return jsonify([_suggestion(gene) for gene in genes.search(request.args.get("ac", ""))])


def _suggestion(gene: Gene) -> dict[str, Any]:
    locus = gene.locus
    return {
        "chr": locus.chrom, "txStart": locus.start, "txEnd": locus.end,
        "score": importance(gene), "geneName": gene.name,
    }  # fmt: skip


@blueprint.get("/tilesets/")
def tilesets() -> Response:
    """The catalogue, with HiGlass's filters: `ac` in the name, `t` file type, `dt` data types, limit, offset."""
    site = here().site
    records = [*assembly_records(site), *site.catalogue.tilesets()]
    paired = pairs(records)
    wanted = [record for record in records if _wanted(record)]
    offset, limit = _whole("offset", 0), _whole("limit", 100)
    results = [_listed(record, paired.get(record.uid)) for record in wanted[offset : offset + limit]]
    return jsonify(count=len(wanted), next=None, previous=None, results=results)


@blueprint.get("/tilesets/<uid>/")
def tileset(uid: str) -> Response:
    site = here().site
    record = next((r for r in assembly_records(site) if r.uid == uid), None) or site.catalogue.tileset(uid)
    return jsonify(**_listed(record, pairs(site.catalogue.tilesets()).get(uid)), provenance=record.provenance)


def _wanted(record: TilesetRecord) -> bool:
    name, types, files = request.args.get("ac", ""), request.args.getlist("dt"), request.args.getlist("t")
    return (
        name.lower() in record.name.lower()
        and (not types or record.datatype in types)
        and (not files or record.filetype in files)
    )


def _whole(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not text.isdecimal():
        raise InvalidRequest(f"{name} should be a whole number, not '{text}'.")
    return int(text)


def _listed(record: TilesetRecord, pair: str | None) -> dict[str, Any]:
    group = f"Predicted by {record.model}" if record.model else record.kind.capitalize()
    return {
        "uuid": record.uid, "name": record.name, "datatype": record.datatype, "filetype": record.filetype,
        "coordSystem": record.assembly, "coordSystem2": "", "private": False, "owner": "", "project_owner": "",
        "project_name": group, "description": "", "created": record.created.isoformat(),
        "kind": record.kind, "assay": record.assay, "biosample": record.biosample, "target": record.target,
        "strand": record.strand, "accession": record.accession, "model": record.model,
        "track_index": record.track_index, "pair": pair,
    }  # fmt: skip
