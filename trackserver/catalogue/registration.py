"""Register files at web addresses that visitors give, after a quick check."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from trackserver.bbi.bigwig import check_chromosomes
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import REGISTERED, TilesetRecord
from trackserver.catalogue.tilesets import guard_of
from trackserver.catalogue.uids import check_uid, stem_of
from trackserver.errors import DataError, InvalidRequest, RemoteRefused, Unavailable, UnknownTileset, listing
from trackserver.sources.cache import ByteCache
from trackserver.sources.guard import check_address, web_address
from trackserver.sources.source import open_remote
from trackserver.tiles.bigbed import BigBedTileset
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.kinds import KINDS, open_file
from trackserver.tiles.tileset import TileId

MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class Registration:
    """A visitor's request to register a file; empty fields are filled from the site or the file's name."""

    url: str
    filetype: str
    assembly: str = ""
    name: str = ""
    uid: str = ""


def register(site: Site, request: Registration) -> tuple[TilesetRecord, bool]:
    """Register an address; returns its tileset and whether it is new.

    The same address on the same assembly always has the same uid.

    Raises
    ------
    RemoteRefused
        The site does not accept visitors' addresses, or not this one.
    InvalidRequest
        The file cannot be read as that type, its chromosomes are not the assembly's, or the uid is taken.
    """
    if not site.settings.register_url:
        raise RemoteRefused(
            "This site does not accept files from other addresses; its administrator can allow them with "
            "register_url = true."
        )
    record = _record(site, request)
    if existing := _existing(site, record):
        return existing, False
    try:
        _check_file(site, record)
    except (DataError, Unavailable) as error:  # the visitor's file is at fault, not this server
        raise InvalidRequest(str(error)) from error
    site.check_writable()
    try:
        site.catalogue.add_registered(record, site.settings.remote_max_files)
    except InvalidRequest:
        if existing := _existing(site, record):  # another request registered it meanwhile
            return existing, False
        raise
    return record, True


def _record(site: Site, request: Registration) -> TilesetRecord:
    kind = KINDS.get(request.filetype)
    if kind is None or not kind.by_ranges:
        raise InvalidRequest(
            f"A '{request.filetype}' file cannot be registered by its address; "
            f"these file types can: {listing(name for name, kind in KINDS.items() if kind.by_ranges)}."
        )
    assembly = site.assembly(request.assembly or site.default_assembly).name
    digest = hashlib.sha256(f"{request.url} {assembly}".encode()).hexdigest()[:20]
    record = TilesetRecord(
        uid=request.uid or f"url-{digest}",
        name=(request.name or stem_of(request.url))[:MAX_NAME_LENGTH],
        kind=REGISTERED,
        assembly=assembly,
        path=request.url,
        filetype=kind.filetype,
        datatype=kind.datatype,
    )
    check_uid(record.uid)
    check_address(guard_of(site, record), web_address(record.path))
    return record


def _existing(site: Site, record: TilesetRecord) -> TilesetRecord | None:
    """The tileset with the same uid and address, if there is one; raises if the uid belongs to another address."""
    try:
        existing = site.catalogue.tileset(record.uid)
    except UnknownTileset:
        return None
    if (existing.kind, existing.path, existing.assembly) != (record.kind, record.path, record.assembly):
        raise InvalidRequest(f"A tileset '{record.uid}' already exists; choose another uid.")
    return existing


def _check_file(site: Site, record: TilesetRecord) -> None:
    """Open the file, check its chromosomes, and make its first tile.

    This reads a few ranges only, whereas `trackserver add` reads the whole file.
    """
    assembly = site.assembly(record.assembly)
    source = open_remote(record.path, guard_of(site, record))
    tileset = open_file(record.filetype, source, Grid(assembly), record.name, ByteCache(1 << 24))
    if isinstance(tileset, BigWigTileset | BigBedTileset):  # the only types read by ranges
        check_chromosomes(tileset.bbi, assembly)
    tileset.tile(TileId(record.uid, 0, 0))
