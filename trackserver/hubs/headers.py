"""Facts from the headers of bigWigs and bigBeds that other genome browsers need."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cachetools import LRUCache

from trackserver.bbi.reader import BBI, HEAD_BYTES
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import guard_of
from trackserver.errors import TrackserverError
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import LocalSource, identity_at, is_remote, open_remote

MAX_READERS = 16  # threads: a remote header takes a tenth of a second, and a catalogue has hundreds of files
MAX_CACHED = 10_000


@dataclass(frozen=True)
class Header:
    """Value range of a bigWig, or column counts of a bigBed.

    value_range : lowest and highest value; None if unknown
    n_columns : all columns
    n_bed_columns : the columns that BED itself defines
    """

    value_range: tuple[float, float] | None
    n_columns: int
    n_bed_columns: int


class HeaderCache:
    """Reads the headers of a site's files once for each version. Thread-safe."""

    def __init__(self, site: Site):
        self.site = site
        self._cache: LRUCache[tuple[str, str], Header] = LRUCache(MAX_CACHED)
        self._lock = threading.Lock()

    def read(self, records: Iterable[TilesetRecord]) -> dict[str, Header]:
        """Read headers, by uid. A file that cannot be read is missing; its track is shown without a range."""
        records = list(records)
        with ThreadPoolExecutor(MAX_READERS) as readers:
            headers = readers.map(self._read_cached, records)
            return {record.uid: header for record, header in zip(records, headers, strict=True) if header}

    def _read_cached(self, record: TilesetRecord) -> Header | None:
        # The size is version enough for a remote file, because the header only sets how a track is drawn.
        version = str(record.size) if is_remote(record.path) else identity_at(self.site.inside(record.path))
        with self._lock:
            cached = self._cache.get((record.path, version))
        if cached:
            return cached
        try:
            header = self._read_header(record)
        except TrackserverError:
            return None
        with self._lock:
            self._cache[record.path, version] = header
        return header

    def _read_header(self, record: TilesetRecord) -> Header:
        if is_remote(record.path):
            bbi = BBI(open_remote(record.path, guard_of(self.site, record)), ByteCache(HEAD_BYTES))
        else:
            bbi = BBI(LocalSource(self.site.inside(record.path)), ByteCache(HEAD_BYTES))
        return Header(bbi.value_range, bbi.n_fields, bbi.n_bed_fields)
