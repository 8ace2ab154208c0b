"""HiGlass's own API: tileset_info and tiles.

Two responses differ from the usual form of errors, because the client expects it: an unknown uid in tileset_info, and
a tile that cannot be made, are `{"error": …}` under their key in a 200. HiGlass' matrix and multivec tracks fail on a
tile without an array, so theirs also holds an array of NaN; a tile of Δ holds the NaN alone.
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
from trackserver.tiles.matrix import TILE_BINS
from trackserver.tiles.tileset import parse_tile_id
from trackserver.web.state import here, read_json

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
    """Tiles of all ids in the query and, if the client posts options, in the body."""
    ids = _at_most([*request.args.getlist("d"), *_body_ids()], "tiles")
    handles: dict[str, Handle | TrackserverError] = {}
    # Each tile is cached as JSON, so a response is joined from them.
    parts = [json.dumps(text).encode() + b":" + _tile(text, handles) for text in ids]
    _count(ids, handles)
    return Response(b"{" + b",".join(parts) + b"}", mimetype="application/json")


def _at_most(ids: list[str], what: str) -> list[str]:
    """Remove repeated ids; raise if there are more than the server sends at a time."""
    unique, limit = list(dict.fromkeys(ids)), here().site.settings.max_tile_ids
    if len(unique) > limit:
        raise InvalidRequest(f"{len(unique)} {what} in one request; request at most {limit} at a time.")
    return unique


def _count(ids: Sequence[str], handles: Mapping[str, Handle | TrackserverError]) -> None:
    counts = Counter(text.split(".")[0] for text in ids)
    for uid, handle in handles.items():
        if isinstance(handle, Handle):
            here().metrics.count_tiles(handle.kind, counts[uid])


def _body_ids() -> list[str]:
    if request.method != "POST" or not request.get_data():
        return []
    items = read_json()
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest("The body should be a list of {tilesetUid, tileIds}.")
    if not all(isinstance(item.get("tileIds", []), list) for item in items):
        raise InvalidRequest("The body should be a list of {tilesetUid, tileIds}, where tileIds is a list.")
    return [f"{item.get('tilesetUid')}.{tile}" for item in items for tile in item.get("tileIds", [])]


def _tile(text: str, handles: dict[str, Handle | TrackserverError]) -> bytes:
    """JSON of a tile, or of its error."""
    try:
        tile = parse_tile_id(text)
        return here().tilesets.tile(_handle(tile.uid, handles), tile)
    except TrackserverError as error:
        return _error_tile(text, str(error), handles)
    except Exception:  # one bad tile must not fail the whole response
        _log.exception("Tile %s", text)
        return _error_tile(text, "This tile could not be made; see the server's log for the cause.", handles)


def _handle(uid: str, handles: dict[str, Handle | TrackserverError]) -> Handle:
    """Open a tileset once in a request; raise the same error again for further tiles."""
    if uid not in handles:
        try:
            handles[uid] = here().tilesets.get(uid)
        except TrackserverError as error:
            handles[uid] = error
    handle = handles[uid]
    if isinstance(handle, TrackserverError):
        raise handle
    return handle


def _error_tile(text: str, sentence: str, handles: Mapping[str, Handle | TrackserverError]) -> bytes:
    """JSON of an error that the client shows in the track, with NaN for tracks that cannot draw without an array."""
    uid, *position = text.split(".")
    if uid.endswith("-delta"):
        return wire.encode(_gaps(TILE_SIZE))
    if len(position) > 2 and position[2].isdecimal():
        return wire.encode({**_gaps(TILE_BINS, TILE_BINS), "error": sentence})
    if shape := _multivec_shape(uid, handles.get(uid)):
        return wire.encode({**_gaps(*shape), "error": sentence})
    return wire.encode({"error": sentence})


def _gaps(*shape: int) -> dict[str, Any]:
    return wire.dense(np.full(shape, np.nan, np.float32))


def _multivec_shape(uid: str, handle: Handle | TrackserverError | None) -> tuple[int, ...]:
    """Shape of a multivec's tiles, a single row if its file cannot be opened; () for other tilesets."""
    if isinstance(handle, Handle):
        info = handle.tileset.info()
        return tuple(reversed(info["shape"])) if info["datatype"] == "multivec" else ()
    if not isinstance(handle, UnreadableFile) or is_effect_uid(uid):
        return ()
    return (1, TILE_SIZE) if here().listing.tileset(uid).datatype == "multivec" else ()
