"""Tilesets of a site, opened once for each version of their file, and the tiles they gave.

Everything kept is kept by what the file is (its inode, size and time of change; on the web its ETag), so a file that is
replaced is the new one a moment later, and one that comes back after it was gone is served again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache, TTLCache

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import guard_of, open_assembly_tileset
from trackserver.catalogue.uids import is_assembly_uid
from trackserver.errors import FileChanged, TrackserverError, Unavailable, UnreadableFile
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import identity_at, is_remote, open_remote
from trackserver.tiles import wire
from trackserver.tiles.grid import Grid
from trackserver.tiles.kinds import open_file, warm_up
from trackserver.tiles.tileset import TileId, Tileset, pyramid_info

RECORDS_HELD = 1.0  # seconds for which the catalogue is not asked again
LOOKED_AT = 0.2  # seconds for which a local file's version counts as known; what is read anew is always of one version
REMOTE_HELD = 60.0  # seconds after which a remote file's version is asked for anew
MOST_TRIES = 3
MOST_OPEN = 512  # tilesets held open; each may hold a file


@dataclass(frozen=True)
class Handle:
    """A tileset and the version of what it is made of."""

    uid: str
    version: str
    tileset: Tileset

    @property
    def kind(self) -> str:
        """`bigwig`, `array`, `genes` and so on."""
        return type(self.tileset).__name__.removesuffix("Tileset").lower()


@dataclass(frozen=True)
class ComputedTilesets:
    """Tilesets that are no files: computed for a question, and known by their uids.

    owns : whether a uid is one of theirs
    version : changes where the same uid is computed again; empty where there is none
    open : raises UnknownTileset where there is none
    """

    owns: Callable[[str], bool]
    version: Callable[[Site, str], str]
    open: Callable[[Site, str], Tileset]


class TilesetCache:
    """A process's open tilesets. Safe from several threads.

    computed : the kinds of tilesets besides files and assemblies
    """

    def __init__(self, site: Site, computed: Sequence[ComputedTilesets] = ()):
        self.site, self._root, self._computed = site, str(site.path), tuple(computed)
        most = site.settings.cache_mb << 20
        self.blocks, self.payloads = ByteCache(most * 3 // 4), ByteCache(most // 4)
        self._records: TTLCache[str, TilesetRecord] = TTLCache(100_000, RECORDS_HELD)
        self._handles: LRUCache[str, tuple[Handle, float]] = LRUCache(MOST_OPEN)
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Read, before anybody waits for it, what the first requests would: chromosome sizes, catalogue, code."""
        for name in self.site.assembly_names:
            with suppress(TrackserverError):  # whoever asks for that assembly is told
                self.site.assembly(name)
        for filetype in self.site.catalogue.filetypes():
            warm_up(filetype)

    def get(self, uid: str) -> Handle:
        """The tileset of a uid, of the version that is there now.

        Raises
        ------
        UnknownTileset, UnreadableFile
            There is none, or its file is gone or damaged.
        """
        for kind in self._computed:
            if kind.owns(uid):
                version = kind.version(self.site, uid)
                return self._held(uid, version) or self._keep(uid, version, kind.open(self.site, uid))
        if is_assembly_uid(uid):
            return self._held(uid, "") or self._keep(uid, "", open_assembly_tileset(self.site, uid))
        record = self._record(uid)
        return self._open_remote(record) if is_remote(record.path) else self._open_local(record)

    def info(self, uid: str) -> dict[str, Any]:
        """A tileset's description.

        Of a line or of intervals it takes no file: the client asks for it once, so where the file is away for a while,
        it is the tiles that say so, and they are asked for again.
        """
        try:
            return self.get(uid).tileset.info()
        except (UnreadableFile, FileChanged, Unavailable):
            record = self._record(uid)
            if record.datatype not in ("vector", "bedlike"):
                raise
            grid = Grid(self.site.assembly(record.assembly))
            return pyramid_info(grid, name=record.name, datatype=record.datatype)

    def tile(self, handle: Handle, tile: TileId) -> bytes:
        """The JSON of one tile. A file that is replaced or written to meanwhile is opened anew."""
        for _ in range(MOST_TRIES):
            try:
                return self._payload(handle, tile)
            except (FileChanged, UnreadableFile):
                self._forget(handle.uid)
                fresh = self.get(handle.uid)
                if fresh.version == handle.version:
                    raise
                handle = fresh
        return self._payload(handle, tile)

    def _payload(self, handle: Handle, tile: TileId) -> bytes:
        def make() -> tuple[bytes, int]:
            encoded = wire.encode(handle.tileset.tile(tile))
            return encoded, len(encoded)

        key = handle.version, handle.uid, tile.zoom, tile.x, tile.y, tile.modifier
        return self.payloads.get(key, make)

    def _record(self, uid: str) -> TilesetRecord:
        with self._lock:
            found = self._records.get(uid)
        if found is None:
            found = self.site.catalogue.tileset(uid)
            with self._lock:
                self._records[uid] = found
        return found

    def _open_local(self, record: TilesetRecord) -> Handle:
        what = f"{record.path} {record.name} "
        with self._lock:
            held, seen = self._handles.get(record.uid, (None, 0.0))
        if held and time.monotonic() - seen < LOOKED_AT and held.version.startswith(what):
            return held
        path = os.path.join(self._root, record.path)  # as `site.inside`, which takes longer than all the rest here
        version = what + identity_at(path)
        if held and held.version == version:
            return self._keep(record.uid, version, held.tileset)
        grid = Grid(self.site.assembly(record.assembly))
        tileset = open_file(record.filetype, Path(path), grid, record.name, self.blocks)
        if not version.endswith(identity_at(path)):  # replaced between the look at it and its opening
            return self._open_local(record)
        return self._keep(record.uid, version, tileset)

    def _open_remote(self, record: TilesetRecord) -> Handle:
        with self._lock:
            held, opened = self._handles.get(record.uid, (None, 0.0))
        if held and time.monotonic() - opened < REMOTE_HELD:
            return held
        source = open_remote(record.path, guard_of(self.site, record))
        if held and held.version == source.identity:
            return self._keep(record.uid, held.version, held.tileset)
        grid = Grid(self.site.assembly(record.assembly))
        tileset = open_file(record.filetype, source, grid, record.name, self.blocks)
        return self._keep(record.uid, source.identity, tileset)

    def _held(self, uid: str, version: str) -> Handle | None:
        with self._lock:
            held, _ = self._handles.get(uid, (None, 0.0))
        return held if held and held.version == version else None

    def _keep(self, uid: str, version: str, tileset: Tileset) -> Handle:
        handle = Handle(uid, version, tileset)
        with self._lock:
            self._handles[uid] = handle, time.monotonic()
        return handle

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._handles.pop(uid, None)
