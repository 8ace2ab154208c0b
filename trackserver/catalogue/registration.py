"""Files at addresses that visitors bring: opened as far as it takes to know them good, then in the catalogue."""

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

MOST_NAME = 200


@dataclass(frozen=True)
class Registration:
    """What a visitor says of a file; what is empty is the site's or the file's own."""

    url: str
    filetype: str
    assembly: str = ""
    name: str = ""
    uid: str = ""


def register(site: Site, asked: Registration) -> tuple[TilesetRecord, bool]:
    """The tileset of an address, and whether it is new; the same address on the same assembly is the same uid.

    Raises
    ------
    RemoteRefused
        The site does not take addresses, or not this one.
    InvalidRequest
        No file of that kind is there, its chromosomes are not the assembly's, or the uid is another's.
    """
    if not site.settings.register_url:
        raise RemoteRefused(
            "This site shows no files from elsewhere; its administrator can allow them with register_url = true."
        )
    record = _record(site, asked)
    if known := _known(site, record):
        return known, False
    try:
        _look_into(site, record)
    except (DataError, Unavailable) as error:  # what a visitor brings is no fault of this server
        raise InvalidRequest(str(error)) from error
    site.check_writable()
    try:
        site.catalogue.add_registered(record, site.settings.remote_most)
    except InvalidRequest:
        if known := _known(site, record):  # by another request, meanwhile
            return known, False
        raise
    return record, True


def _record(site: Site, asked: Registration) -> TilesetRecord:
    kind = KINDS.get(asked.filetype)
    if kind is None or not kind.by_ranges:
        raise InvalidRequest(
            f"A '{asked.filetype}' file is not shown from elsewhere; "
            f"these are: {listing(name for name, kind in KINDS.items() if kind.by_ranges)}."
        )
    assembly = site.assembly(asked.assembly or site.default_assembly).name
    digest = hashlib.sha256(f"{asked.url} {assembly}".encode()).hexdigest()[:20]
    record = TilesetRecord(
        uid=asked.uid or f"url-{digest}",
        name=(asked.name or stem_of(asked.url))[:MOST_NAME],
        kind=REGISTERED,
        assembly=assembly,
        path=asked.url,
        filetype=kind.filetype,
        datatype=kind.datatype,
    )
    check_uid(record.uid)
    check_address(guard_of(site, record), web_address(record.path))
    return record


def _known(site: Site, record: TilesetRecord) -> TilesetRecord | None:
    """The same address under the same uid; one that is another's is refused."""
    try:
        known = site.catalogue.tileset(record.uid)
    except UnknownTileset:
        return None
    if (known.kind, known.path, known.assembly) != (record.kind, record.path, record.assembly):
        raise InvalidRequest(f"There is a tileset '{record.uid}' already; choose another uid.")
    return known


def _look_into(site: Site, record: TilesetRecord) -> None:
    """Open the file, look whose chromosomes it has, and make its first tile.

    That takes a few ranges; `trackserver add` reads the whole file.
    """
    assembly = site.assembly(record.assembly)
    source = open_remote(record.path, guard_of(site, record))
    tileset = open_file(record.filetype, source, Grid(assembly), record.name, ByteCache(1 << 24))
    if isinstance(tileset, BigWigTileset | BigBedTileset):  # all kinds that are read by ranges
        check_chromosomes(tileset.bbi, assembly)
    tileset.tile(TileId(record.uid, 0, 0))
