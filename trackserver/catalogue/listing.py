"""The catalogue as it is browsed: a page at a time, and which predicted tileset speaks of which measured one."""

from __future__ import annotations

import threading
from operator import attrgetter

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord, Wanted
from trackserver.catalogue.tilesets import assembly_records, is_assembly_uid, pairs
from trackserver.errors import UnknownTileset


class Listing:
    """Of a site, in one process. Who speaks of whom is worked out once for each change of the catalogue."""

    def __init__(self, site: Site):
        self.site = site
        self._lock = threading.Lock()
        self._stamp: tuple[int, str] | None = None
        self._pairs: dict[str, str] = {}

    def page(self, wanted: Wanted, offset: int, limit: int) -> tuple[int, list[TilesetRecord]]:
        """How many tilesets are wanted, and a page of them; what assemblies bring along comes first among equals."""
        own = [record for record in assembly_records(self.site) if wanted.holds(record)]
        count, records = self.site.catalogue.find(wanted, offset + limit)
        if own and wanted.order != "name":
            field = attrgetter(wanted.order)
            merged = sorted([*own, *records], key=lambda record: str(field(record)), reverse=wanted.backwards)
        else:
            merged = [*own, *records]
        return len(own) + count, merged[offset : offset + limit]

    def tileset(self, uid: str) -> TilesetRecord:
        if not is_assembly_uid(uid):
            return self.site.catalogue.tileset(uid)
        for record in assembly_records(self.site):
            if record.uid == uid:
                return record
        raise UnknownTileset(uid)

    def pair(self, uid: str) -> str | None:
        return self.pairs().get(uid)

    def pairs(self) -> dict[str, str]:
        stamp = self.site.catalogue.stamp()
        with self._lock:
            if stamp != self._stamp:
                self._pairs = pairs(self.site.catalogue.tilesets())
                self._stamp = stamp
            return self._pairs
