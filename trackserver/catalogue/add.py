"""Files into the catalogue, several at once: each checked first, and what is wrong said of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from trackserver.catalogue.manifest import Listed, check_uids
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.errors import InvalidRequest, TrackserverError
from trackserver.progress import Progress


class Added(NamedTuple):
    """The tilesets that were added, and a sentence for each that was not."""

    records: list[TilesetRecord]
    faults: list[str]


def add_each(site: Site, listed: Sequence[Listed], report: Progress) -> Added:
    """Register the tilesets that are good.

    Raises
    ------
    InvalidRequest
        Two of them have one uid; nothing is added.
    """
    good, faults = _checked(site, listed, report)
    return Added(site.catalogue.put_tilesets(good), faults)


def add_all(site: Site, listed: Sequence[Listed], report: Progress) -> list[TilesetRecord]:
    """Register all tilesets of a list, or none.

    Raises
    ------
    InvalidRequest
        Some are not good; a sentence for each.
    """
    good, faults = _checked(site, listed, report)
    if faults:
        raise InvalidRequest(f"Nothing was added, for {len(faults)} of {len(listed)} cannot be.\n" + "\n".join(faults))
    return site.catalogue.put_tilesets(good)


def _checked(site: Site, listed: Sequence[Listed], report: Progress) -> tuple[list[TilesetRecord], list[str]]:
    site.check_writable()
    check_uids(listed)
    good, faults = [], []
    for number, (where, record) in enumerate(listed):
        try:
            good.append(check_tileset(site, record, partial(_report_part, report, number, len(listed))))
        except TrackserverError as error:
            faults.append(f"{where}: {error}")
        report(number + 1, len(listed))
    return good, faults


def _report_part(report: Progress, number: int, total: int, done: int, of: int) -> None:
    """So much of one file of several."""
    report(number + done / max(of, 1), total)
