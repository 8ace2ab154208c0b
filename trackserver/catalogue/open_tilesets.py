"""A site's open tilesets, and a cache of their tiles.

Everything is cached by the version of its file: its inode, size and time of change, or on the web its ETag. A file that
is replaced is therefore served in its new version a moment later, and a file that comes back is served again.
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

RECORD_TTL_S = 1.0  # before the catalogue is asked for a record again
LOCAL_VERSION_TTL_S = 0.2  # before a local file's version is checked again; a read never mixes two versions
REMOTE_VERSION_TTL_S = 60.0  # before a remote file's version is checked again
MAX_TRIES = 3
MAX_OPEN = 512  # open tilesets; each may hold a file


@dataclass(frozen=True)
class Handle:
    """An open tileset, and the version of its file."""

    uid: str
    version: str
    tileset: Tileset

    @property
    def kind(self) -> str:
        """`bigwig`, `array`, `genes` and so on."""
        return type(self.tileset).__name__.removesuffix("Tileset").lower()


@dataclass(frozen=True)
class ComputedTilesets:
    """Tilesets that have no file, because they are computed for a question, and are known by their uids.

    owns : whether a uid is one of theirs
    version : changes if the same uid is computed again; empty if there is no result
    open : raises UnknownTileset if there is no result
    """

    owns: Callable[[str], bool]
    version: Callable[[Site, str], str]
    open: Callable[[Site, str], Tileset]


class TilesetCache:
    """A process's open tilesets, safe to use from several threads.

    computed : kinds of tilesets besides those of files and assemblies
    """

    def __init__(self, site: Site, computed: Sequence[ComputedTilesets] = ()):
        self.site, self._root, self._computed = site, str(site.path), tuple(computed)
        max_bytes = site.settings.cache_mb << 20
        self.blocks, self.payloads = ByteCache(max_bytes * 3 // 4), ByteCache(max_bytes // 4)
        self._records: TTLCache[str, TilesetRecord] = TTLCache(100_000, RECORD_TTL_S)
        self._handles: LRUCache[str, tuple[Handle, float]] = LRUCache(MAX_OPEN)
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load what the first requests need, before anybody waits: chromosome sizes, catalogue, code."""
        for name in self.site.assembly_names:
            with suppress(TrackserverError):  # a request for that assembly reports the error
                self.site.assembly(name)
        for filetype in self.site.catalogue.filetypes():
            warm_up(filetype)

    def get(self, uid: str) -> Handle:
        """Open a tileset in its current version.

        Raises
        ------
        UnknownTileset, UnreadableFile
            There is no such tileset, or its file is gone or damaged.
        """
        for kind in self._computed:
            if kind.owns(uid):
                version = kind.version(self.site, uid)
                return self._cached(uid, version) or self._store(uid, version, kind.open(self.site, uid))
        if is_assembly_uid(uid):
            return self._cached(uid, "") or self._store(uid, "", open_assembly_tileset(self.site, uid))
        record = self._record(uid)
        return self._open_remote(record) if is_remote(record.path) else self._open_local(record)

    def info(self, uid: str) -> dict[str, Any]:
        """A tileset's description for HiGlass.

        A client asks for it only once. For a line or intervals it is therefore given even while the file is
        unavailable; the tiles then report the error, and the client asks for them again.
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
        """The JSON of one tile. A file that is replaced or written to meanwhile is opened again."""
        for _ in range(MAX_TRIES):
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
        return self.payloads.get_or_make(key, make)

    def _record(self, uid: str) -> TilesetRecord:
        with self._lock:
            record = self._records.get(uid)
        if record is None:
            record = self.site.catalogue.tileset(uid)
            with self._lock:
                self._records[uid] = record
        return record

    def _open_local(self, record: TilesetRecord) -> Handle:
        version_prefix = f"{record.path} {record.name} "
        cached, checked = self._cached_at(record.uid)
        if cached and time.monotonic() - checked < LOCAL_VERSION_TTL_S and cached.version.startswith(version_prefix):
            return cached
        path = os.path.join(self._root, record.path)  # `site.inside` would take longer than the rest of this function
        version = version_prefix + identity_at(path)
        if cached and cached.version == version:
            return self._store(record.uid, version, cached.tileset)
        grid = Grid(self.site.assembly(record.assembly))
        tileset = open_file(record.filetype, Path(path), grid, record.name, self.blocks)
        if not version.endswith(identity_at(path)):  # replaced after its version was read
            return self._open_local(record)
        return self._store(record.uid, version, tileset)

    def _open_remote(self, record: TilesetRecord) -> Handle:
        cached, checked = self._cached_at(record.uid)
        if cached and time.monotonic() - checked < REMOTE_VERSION_TTL_S:
            return cached
        source = open_remote(record.path, guard_of(self.site, record))
        if cached and cached.version == source.identity:
            return self._store(record.uid, cached.version, cached.tileset)
        grid = Grid(self.site.assembly(record.assembly))
        tileset = open_file(record.filetype, source, grid, record.name, self.blocks)
        return self._store(record.uid, source.identity, tileset)

    def _cached_at(self, uid: str) -> tuple[Handle | None, float]:
        """The cached handle, if any, and when its version was last checked."""
        with self._lock:
            return self._handles.get(uid, (None, 0.0))

    def _cached(self, uid: str, version: str) -> Handle | None:
        cached, _ = self._cached_at(uid)
        return cached if cached and cached.version == version else None

    def _store(self, uid: str, version: str, tileset: Tileset) -> Handle:
        handle = Handle(uid, version, tileset)
        with self._lock:
            self._handles[uid] = handle, time.monotonic()
        return handle

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._handles.pop(uid, None)
