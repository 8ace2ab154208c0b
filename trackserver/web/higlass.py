"""HiGlass's own API: tileset_info and tiles.

Two answers depart from the one error shape, because the client reads them otherwise: an unknown uid in
tileset_info, and a tile that cannot be made, are `{"error": …}` under their key in a 200. The tracks of
matrices and of rows cannot bear a tile without an array, so there the error stands beside a full array of gaps; the Δ
of an effect gets the gaps alone.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, request

from trackserver.catalogue.open_tilesets import Handle
from trackserver.catalogue.uids import is_effect_uid
from trackserver.errors import InvalidRequest, TrackserverError, UnreadableFile
from trackserver.tiles import wire
from trackserver.tiles.grid import TILE_SIZE
from trackserver.tiles.matrix import SIDE
from trackserver.tiles.tileset import parse_tile_id
from trackserver.web.state import here, posted_json

blueprint = Blueprint("higlass", __name__, url_prefix="/api/v1")
_log = logging.getLogger(__name__)


@blueprint.get("/tileset_info/")
def tileset_info() -> Response:
    return jsonify({uid: _info(uid) for uid in _at_most(request.args.getlist("d"), "tilesets")})


def _info(uid: str) -> dict[str, Any]:
    try:
        return {"uid": uid, **here().tilesets.info(uid)}
    except TrackserverError as error:
        return {"error": str(error)}


@blueprint.route("/tiles/", methods=["GET", "POST"])
def tiles() -> Response:
    """Tiles of the ids in the query and, where the client posts options, in the body: the union of both."""
    ids = _at_most([*request.args.getlist("d"), *_posted_ids()], "tiles")
    handles: dict[str, Handle | TrackserverError] = {}
    # Each tile is JSON already, and kept as such: to put them together is to join them.
    parts = [json.dumps(text).encode() + b":" + _tile(text, handles) for text in ids]
    _count(ids, handles)
    return Response(b"{" + b",".join(parts) + b"}", mimetype="application/json")


def _at_most(ids: list[str], what: str) -> list[str]:
    """Each id once, if they are not too many."""
    unique, most = list(dict.fromkeys(ids)), here().site.settings.max_tile_ids
    if len(unique) > most:
        raise InvalidRequest(f"{len(unique)} {what} in one request; this server gives at most {most} at a time.")
    return unique


def _count(ids: Sequence[str], handles: Mapping[str, Handle | TrackserverError]) -> None:
    asked = Counter(text.split(".")[0] for text in ids)
    for uid, handle in handles.items():
        if isinstance(handle, Handle):
            here().metrics.tiles(handle.kind, asked[uid])


def _posted_ids() -> list[str]:
    if request.method != "POST" or not request.get_data():
        return []
    sent = posted_json()
    if not isinstance(sent, list) or not all(isinstance(item, dict) for item in sent):
        raise InvalidRequest("The body should be a list of {tilesetUid, tileIds}.")
    if not all(isinstance(item.get("tileIds", []), list) for item in sent):
        raise InvalidRequest("The body should be a list of {tilesetUid, tileIds}, tileIds a list.")
    return [f"{item.get('tilesetUid')}.{tile}" for item in sent for tile in item.get("tileIds", [])]


def _tile(text: str, handles: dict[str, Handle | TrackserverError]) -> bytes:
    """One tile's JSON; a fault is that tile's alone."""
    try:
        tile = parse_tile_id(text)
        return here().tilesets.tile(_handle(tile.uid, handles), tile)
    except TrackserverError as error:
        return _fault(text, str(error), handles)
    except Exception:  # one tile's fault must not take the batch with it
        _log.exception("Tile %s", text)
        return _fault(text, "This tile could not be made.", handles)


def _handle(uid: str, handles: dict[str, Handle | TrackserverError]) -> Handle:
    """Opened once a request, and refused once."""
    if uid not in handles:
        try:
            handles[uid] = here().tilesets.get(uid)
        except TrackserverError as error:
            handles[uid] = error
    found = handles[uid]
    if isinstance(found, TrackserverError):
        raise found
    return found


def _fault(text: str, sentence: str, handles: Mapping[str, Handle | TrackserverError]) -> bytes:
    """What the client shows in the track; where its drawing cannot bear a tile without numbers, beside gaps."""
    uid, *place = text.split(".")
    if uid.endswith("-delta"):
        return wire.encode(_gaps(TILE_SIZE))
    if len(place) > 2 and place[2].isdecimal():
        return wire.encode({**_gaps(SIDE, SIDE), "error": sentence})
    if shape := _shape_of_rows(uid, handles.get(uid)):
        return wire.encode({**_gaps(*shape), "error": sentence})
    return wire.encode({"error": sentence})


def _gaps(*shape: int) -> dict[str, Any]:
    return wire.dense(np.full(shape, np.nan, np.float32))


def _shape_of_rows(uid: str, handle: Handle | TrackserverError | None) -> tuple[int, ...]:
    """The shape of a multivec's tiles, a single row where its file cannot be opened; () of anything else."""
    if isinstance(handle, Handle):
        info = handle.tileset.info()
        return tuple(reversed(info["shape"])) if info["datatype"] == "multivec" else ()
    if not isinstance(handle, UnreadableFile) or is_effect_uid(uid):
        return ()
    return (1, TILE_SIZE) if here().listing.tileset(uid).datatype == "multivec" else ()
