"""In-memory index of a site's catalogue, reloaded when the catalogue changes."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from trackserver.catalogue.facets import FacetCounts, Index, TilesetQuery
from trackserver.catalogue.pairs import TrackPair, find_pairs, pairs_by_uid
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import assembly_records
from trackserver.catalogue.uids import is_assembly_uid
from trackserver.errors import UnknownTileset


@dataclass(frozen=True)
class _Snapshot:
    """The index and pairs of one state of the catalogue."""

    stamp: object
    index: Index
    pairs: dict[str, TrackPair]


class Listing:
    """A process's copy of the catalogue. Every call checks whether the catalogue has changed."""

    def __init__(self, site: Site):
        self.site = site
        self._lock = threading.Lock()
        self._snapshot = _Snapshot(None, Index([]), {})

    def find(self, query: TilesetQuery) -> list[TilesetRecord]:
        """The tilesets that match; those of assemblies come first among equals."""
        return self._current().index.find(query)

    def count(self, query: TilesetQuery) -> FacetCounts:
        """Count the tilesets that match, by facet."""
        return self._current().index.count(query)

    def pairs(self) -> dict[str, TrackPair]:
        """The pair of each tileset that has one, by uid."""
        return self._current().pairs

    def tileset(self, uid: str) -> TilesetRecord:
        if not is_assembly_uid(uid):
            return self.site.catalogue.tileset(uid)
        for record in assembly_records(self.site):
            if record.uid == uid:
                return record
        raise UnknownTileset(uid)

    def _current(self) -> _Snapshot:
        catalogue = self.site.catalogue
        stamp = catalogue.stamp()
        with self._lock:
            if stamp != self._snapshot.stamp:
                records = catalogue.tilesets()
                pairs = pairs_by_uid(find_pairs(records, catalogue.chosen_pairs()))
                self._snapshot = _Snapshot(stamp, Index([*assembly_records(self.site), *records]), pairs)
            return self._snapshot
