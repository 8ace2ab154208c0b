"""Lists of variants that were posted: each in a folder of its own, scored a slice at a time, read while they grow.

`batches/<id>/` holds the list, what was asked, and the ledger of its rows; it appears whole or not at all.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trackserver.batches import pace, run
from trackserver.batches.question import Batch, ListRequest, list_question
from trackserver.batches.rows import Ledger
from trackserver.batches.scoring import OK, Entry
from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, NotFound, SiteReadOnly, TrackserverError, UnreadableFile
from trackserver.genome.locus import Locus
from trackserver.genome.vcf import opened_stream
from trackserver.storage import new_folder, publish_folder

MOST_ROWS = 20_000
CHUNK = 10  # rows: a slice is a whole number of chunks, so of a slow model other questions wait for one chunk
SLICE = 2.0  # seconds after which whoever waits goes first
MOST_UNPACKED = 20  # times the size of a request that a packed one may have
_LIST, _ASKED, _ROWS = "The list", "asked.json", "rows.sqlite"  # the first is how errors call it
_ID = re.compile(r"^[0-9a-f]{20}$")


class UnknownBatch(NotFound):
    code = "unknown_batch"

    def __init__(self, batch: str):
        self.batch = batch
        super().__init__(f"No batch '{batch}' here; POST the variants to /api/v1/batches/ to score them.")


def post(site: Site, sent: bytes, asked: Mapping[str, Any]) -> str:
    """Take in a list, plain or gzip, and check its rows; returns the id, that of a list taken in before if it is equal.

    Parameters
    ----------
    asked
        The fields of a request, as `ListRequest.from_fields` takes them.

    Raises
    ------
    InvalidRequest
        It is no list of variants, is too long, or the question cannot be asked.
    """
    site.check_writable()
    try:
        with new_folder(_folder(site)) as made:
            return _take_in(site, made, _unpacked(site, sent), asked)
    except OSError as error:
        raise SiteReadOnly(f"The list cannot be kept in {_folder(site)}: {error.strerror}.") from error
    except UnreadableFile as error:
        raise InvalidRequest(str(error)) from error


def _take_in(site: Site, made: Path, text: bytes, asked: Mapping[str, Any]) -> str:
    (made / _LIST).write_bytes(text)
    (made / _ASKED).write_text(json.dumps(asked))
    batch = list_question(site, made / _LIST, ListRequest.from_fields(asked), CHUNK)
    place = _folder(site) / batch.id
    if not place.exists():
        with closing(_few(batch)) as entered:
            Ledger(made / _ROWS).begin(batch.question, run.head(batch), entered)
        publish_folder(made, place)
        _forget_oldest(site)
    return batch.id


def _forget_oldest(site: Site) -> None:
    """Delete what is more than the site keeps, the lists first that nobody has posted or scored for longest."""
    lists = [place for place in _folder(site).iterdir() if _ID.match(place.name)]
    lists.sort(key=lambda place: (place / _ROWS).stat().st_mtime)
    for place in lists[: -site.settings.lists_kept]:
        shutil.rmtree(place, ignore_errors=True)


def _unpacked(site: Site, sent: bytes) -> bytes:
    most = site.settings.max_request_bytes * MOST_UNPACKED
    with opened_stream(io.BytesIO(sent)) as stream:
        text = stream.read(most + 1)
    if len(text) > most:
        raise InvalidRequest(f"Unpacked, the list is larger than {most:,} bytes; {_elsewhere()}")
    return text


def _few(batch: Batch) -> Generator[tuple[Entry, Locus | None]]:
    for number, entered in enumerate(batch.entries()):
        if number == MOST_ROWS:
            raise InvalidRequest(f"A list may have {MOST_ROWS:,} rows here; {_elsewhere()}")
        yield entered


def _elsewhere() -> str:
    return "longer ones are scored on the command line: trackserver score MODEL in.vcf -o out.tsv."


def work(site: Site, batch_id: str, asked: Mapping[str, Any]) -> bool:
    """Score a slice of a list; returns whether there is more."""
    batch = _batch(site, batch_id, asked)
    if batch.id != batch_id:
        raise InvalidRequest("The model, the reference or the settings were changed while this waited; post it again.")
    ledger = ledger_of(site, batch_id)
    batch.predictor()  # to load it is not of a row's time
    began = time.monotonic()
    scored = 0
    while more := run.advance(batch, ledger):
        scored += more
        if time.monotonic() - began > SLICE and ledger.left():
            break
    if scored:
        pace.took(batch, scored, time.monotonic() - began)
    if ledger.left():
        return True
    ledger.rank()
    return False


def asked_of(site: Site, batch_id: str) -> dict[str, Any]:
    """What a list was posted with."""
    ledger_of(site, batch_id)
    return dict(json.loads((_folder(site) / batch_id / _ASKED).read_text()))


def ledger_of(site: Site, batch_id: str) -> Ledger:
    """The rows of a list; raises `UnknownBatch` where there is none."""
    ledger = Ledger(_folder(site) / batch_id / _ROWS)
    if not _ID.match(batch_id) or not ledger.exists():
        raise UnknownBatch(batch_id)
    return ledger


def checked(site: Site, batch_id: str) -> dict[str, Any]:
    """What a list holds, in JSON's terms; see `batches.Preflight`."""
    ledger = ledger_of(site, batch_id)
    return asdict(run.preflight(CHUNK, ledger, _seconds_left(site, batch_id, ledger.left())))


def described(site: Site, batch_id: str) -> dict[str, Any]:
    """How far a list is: `total` rows, of which `scored` of `to_score` are done; `statuses` of all so far; the seconds
    that the rest takes, about, where that is known.
    """
    ledger = ledger_of(site, batch_id)
    statuses, left = ledger.counts("status"), ledger.left()
    return {
        "total": ledger.total(),
        "to_score": statuses.get(OK, 0),
        "scored": statuses.get(OK, 0) - left,
        "statuses": statuses,
        "seconds_left": _seconds_left(site, batch_id, left),
        "about": ledger.head().about,
    }


def _seconds_left(site: Site, batch_id: str, rows: int) -> float | None:
    try:
        return pace.expected(_batch(site, batch_id, asked_of(site, batch_id)), rows)
    except TrackserverError:  # its model is gone, perhaps; what was scored is still shown
        return None


def export(site: Site, batch_id: str, kind: str) -> bytes:
    """The rows so far as a file, `.tsv` or `.vcf`."""
    ledger = ledger_of(site, batch_id)
    out = io.BytesIO()
    run.write_text(_batch(site, batch_id, asked_of(site, batch_id)), ledger, out, kind)
    return out.getvalue()


def _batch(site: Site, batch_id: str, asked: Mapping[str, Any]) -> Batch:
    return list_question(site, _folder(site) / batch_id / _LIST, ListRequest.from_fields(asked), CHUNK)


def _folder(site: Site) -> Path:
    return site.path / "batches"
