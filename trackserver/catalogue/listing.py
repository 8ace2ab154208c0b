"""The catalogue as it is browsed: searched, counted, a page at a time, and which tilesets are pairs."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from trackserver.catalogue.facets import Counted, Index, Wanted
from trackserver.catalogue.pairs import Pair, both_ways, find_pairs
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import assembly_records
from trackserver.catalogue.uids import is_assembly_uid
from trackserver.errors import UnknownTileset


@dataclass(frozen=True)
class _Known:
    """What is worked out once for each change of the catalogue."""

    stamp: object
    index: Index
    pairs: dict[str, Pair]


class Listing:
    """Of a site, in one process; it knows the catalogue by heart, and asks it only whether it has changed."""

    def __init__(self, site: Site):
        self.site = site
        self._lock = threading.Lock()
        self._known = _Known(None, Index([]), {})

    def find(self, wanted: Wanted) -> list[TilesetRecord]:
        """The tilesets wanted; what assemblies bring along comes first among equals."""
        return self._now().index.find(wanted)

    def count(self, wanted: Wanted) -> Counted:
        """How many tilesets are wanted, by facet."""
        return self._now().index.count(wanted)

    def pairs(self) -> dict[str, Pair]:
        """The pair of each tileset that has one."""
        return self._now().pairs

    def tileset(self, uid: str) -> TilesetRecord:
        if not is_assembly_uid(uid):
            return self.site.catalogue.tileset(uid)
        for record in assembly_records(self.site):
            if record.uid == uid:
                return record
        raise UnknownTileset(uid)

    def _now(self) -> _Known:
        catalogue = self.site.catalogue
        stamp = catalogue.stamp()
        with self._lock:
            if stamp != self._known.stamp:
                records = catalogue.tilesets()
                pairs = both_ways(find_pairs(records, catalogue.chosen_pairs()))
                self._known = _Known(stamp, Index([*assembly_records(self.site), *records]), pairs)
            return self._known
