"""What the headers of bigWigs and bigBeds say that other genome browsers want to be told."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cachetools import LRUCache

from trackserver.bbi.reader import BBI, HEAD
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import guard_of
from trackserver.errors import TrackserverError
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import LocalSource, identity_at, is_remote, open_remote

AT_ONCE = 16  # files asked for together: one on the web takes a tenth of a second, and a catalogue has hundreds
MOST_HELD = 10_000


@dataclass(frozen=True)
class Header:
    """Of a bigWig the lowest and highest value, if known; of a bigBed its columns, and those that are BED's own."""

    limits: tuple[float, float] | None
    n_columns: int
    n_bed_columns: int


class Headers:
    """Of a site's files, each read once for each version. Safe from several threads."""

    def __init__(self, site: Site):
        self.site = site
        self._held: LRUCache[tuple[str, str], Header] = LRUCache(MOST_HELD)
        self._lock = threading.Lock()

    def of(self, records: Iterable[TilesetRecord]) -> dict[str, Header]:
        """Headers by uid. A file that cannot be read now is left out: its track is shown without."""
        listed = list(records)
        with ThreadPoolExecutor(AT_ONCE) as readers:
            found = readers.map(self._header, listed)
            return {record.uid: header for record, header in zip(listed, found, strict=True) if header}

    def _header(self, record: TilesetRecord) -> Header | None:
        # Of a file on the web the size stands for its version: these are limits of a view, not data.
        version = str(record.size) if is_remote(record.path) else identity_at(self.site.inside(record.path))
        with self._lock:
            held = self._held.get((record.path, version))
        if held:
            return held
        try:
            header = self._read(record)
        except TrackserverError:
            return None
        with self._lock:
            self._held[record.path, version] = header
        return header

    def _read(self, record: TilesetRecord) -> Header:
        if is_remote(record.path):
            bbi = BBI(open_remote(record.path, guard_of(self.site, record)), ByteCache(HEAD))
        else:
            bbi = BBI(LocalSource(self.site.inside(record.path)), ByteCache(HEAD))
        return Header(bbi.limits, bbi.n_fields, bbi.n_bed_fields)
