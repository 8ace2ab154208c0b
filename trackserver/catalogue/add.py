"""Check files and add them to the catalogue, with an error message for each file that cannot be added."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from trackserver.catalogue.manifest import ListEntry, check_uids
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.errors import InvalidRequest, TrackserverError
from trackserver.progress import Progress


class AddResult(NamedTuple):
    """The tilesets that were added, and a sentence for each one that was not."""

    records: list[TilesetRecord]
    faults: list[str]


def add_each(site: Site, entries: Sequence[ListEntry], report: Progress) -> AddResult:
    """Register the tilesets whose files are good.

    Raises
    ------
    InvalidRequest
        Two of them have the same uid; nothing is added.
    """
    records, faults = _check_each(site, entries, report)
    return AddResult(site.catalogue.put_tilesets(records), faults)


def add_all(site: Site, entries: Sequence[ListEntry], report: Progress) -> list[TilesetRecord]:
    """Register all tilesets of a list, or none.

    Raises
    ------
    InvalidRequest
        Some files are not good; the message has a sentence for each.
    """
    records, faults = _check_each(site, entries, report)
    if faults:
        reason = f"Nothing was added, because {len(faults)} of {len(entries)} tilesets failed the check."
        raise InvalidRequest("\n".join([reason, *faults]))
    return site.catalogue.put_tilesets(records)


def _check_each(site: Site, entries: Sequence[ListEntry], report: Progress) -> tuple[list[TilesetRecord], list[str]]:
    site.check_writable()
    check_uids(entries)
    records, faults = [], []
    for number, (where, record) in enumerate(entries):
        try:
            records.append(check_tileset(site, record, partial(_report_file, report, number, len(entries))))
        except TrackserverError as error:
            faults.append(f"{where}: {error}")
        report(number + 1, len(entries))
    return records, faults


def _report_file(report: Progress, number: int, n_files: int, done: float, total: float) -> None:
    """Report the progress within one file as a fraction of all files."""
    report(number + done / max(total, 1), n_files)
