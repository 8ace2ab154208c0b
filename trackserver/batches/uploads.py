"""Lists of variants uploaded to the server: stored, scored a slice at a time, and readable while they are scored.

`batches/<id>/` holds the list, the fields of its request, and the ledger of its rows. It appears whole or not at all.
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
from trackserver.genome.vcf import unzip_stream
from trackserver.storage import new_folder, publish_folder

MAX_ROWS = 20_000
CHUNK = 10  # rows; a slice is a whole number of chunks, so with a slow model other requests wait for one chunk
SLICE_S = 2.0  # seconds of scoring before other requests get their turn
MAX_UNZIP_RATIO = 20  # unzipped size of a list, relative to the largest request
_LIST, _REQUEST, _ROWS = "The list", "request.json", "rows.sqlite"  # error messages call the first by its name
_ID = re.compile(r"^[0-9a-f]{20}$")


class UnknownBatch(NotFound):
    code = "unknown_batch"

    def __init__(self, batch: str):
        self.batch = batch
        super().__init__(f"No batch '{batch}'; POST the variants to /api/v1/batches/ to score them.")


def upload(site: Site, data: bytes, fields: Mapping[str, Any]) -> str:
    """Store a list, plain or gzip, and check its rows; returns its id. Equal uploads have equal ids.

    Parameters
    ----------
    fields
        The fields of a request, see `ListRequest.from_fields`.

    Raises
    ------
    InvalidRequest
        The data are not a list of variants, the list is too long, or the request is invalid.
    """
    site.check_writable()
    try:
        with new_folder(_folder(site)) as new:
            return _store(site, new, _unzip(site, data), fields)
    except OSError as error:
        raise SiteReadOnly(f"The list cannot be stored in {_folder(site)}: {error.strerror}.") from error
    except UnreadableFile as error:
        raise InvalidRequest(str(error)) from error


def _store(site: Site, new: Path, text: bytes, fields: Mapping[str, Any]) -> str:
    (new / _LIST).write_bytes(text)
    (new / _REQUEST).write_text(json.dumps(fields))
    batch = list_question(site, new / _LIST, ListRequest.from_fields(fields), CHUNK)
    folder = _folder(site) / batch.id
    if not folder.exists():
        with closing(_limited_entries(batch)) as entries:
            Ledger(new / _ROWS).create(batch.question, run.table_header(batch), entries)
        publish_folder(new, folder)
        _delete_oldest(site)
    return batch.id


def _delete_oldest(site: Site) -> None:
    """Delete the lists beyond the site's limit, starting with the one that was uploaded or scored longest ago."""
    lists = [folder for folder in _folder(site).iterdir() if _ID.match(folder.name)]
    lists.sort(key=lambda folder: (folder / _ROWS).stat().st_mtime)
    for folder in lists[: -site.settings.max_lists]:
        shutil.rmtree(folder, ignore_errors=True)


def _unzip(site: Site, data: bytes) -> bytes:
    limit = site.settings.max_request_bytes * MAX_UNZIP_RATIO
    with unzip_stream(io.BytesIO(data)) as stream:
        text = stream.read(limit + 1)
    if len(text) > limit:
        raise InvalidRequest(f"The unzipped list is larger than {limit:,} bytes; {_use_command_line()}")
    return text


def _limited_entries(batch: Batch) -> Generator[tuple[Entry, Locus | None]]:
    for number, entry in enumerate(batch.entries()):
        if number == MAX_ROWS:
            raise InvalidRequest(f"The list has more than {MAX_ROWS:,} rows; {_use_command_line()}")
        yield entry


def _use_command_line() -> str:
    return "score it on the command line instead: trackserver score MODEL in.vcf -o out.tsv."


def score_slice(site: Site, batch_id: str, fields: Mapping[str, Any]) -> bool:
    """Score a list for about `SLICE_S` seconds; returns whether any rows remain."""
    batch = _batch(site, batch_id, fields)
    if batch.id != batch_id:
        raise InvalidRequest(
            "The model, the reference or the settings changed while this list was queued; upload it again."
        )
    ledger = ledger_of(site, batch_id)
    batch.predictor()  # loaded before the clock starts, because loading is not part of a row's time
    began = time.monotonic()
    scored = 0
    while n_rows := run.score_chunk(batch, ledger):
        scored += n_rows
        if time.monotonic() - began > SLICE_S and ledger.remaining():
            break
    if scored:
        pace.record(batch, scored, time.monotonic() - began)
    if ledger.remaining():
        return True
    ledger.rank()
    return False


def request_fields(site: Site, batch_id: str) -> dict[str, Any]:
    """The fields of the request that a list was uploaded with."""
    ledger_of(site, batch_id)
    return dict(json.loads((_folder(site) / batch_id / _REQUEST).read_text()))


def ledger_of(site: Site, batch_id: str) -> Ledger:
    """The rows of a list; raises `UnknownBatch` if there is no such list."""
    folder = _folder(site) / batch_id
    if not _ID.match(batch_id) or not (folder / _REQUEST).exists() or not (folder / _ROWS).exists():
        raise UnknownBatch(batch_id)
    return Ledger(folder / _ROWS)


def preflight(site: Site, batch_id: str) -> dict[str, Any]:
    """The contents of a list, in JSON's terms; see `run.Preflight`."""
    ledger = ledger_of(site, batch_id)
    return asdict(run.preflight(CHUNK, ledger, _seconds_left(site, batch_id, ledger.remaining())))


def progress(site: Site, batch_id: str) -> dict[str, Any]:
    """How far a list is: `scored` of `to_score` rows; `total` and `statuses` count all rows, invalid ones included.

    `seconds_left` is an estimate, or None if unknown.
    """
    ledger = ledger_of(site, batch_id)
    statuses, remaining = ledger.counts("status"), ledger.remaining()
    return {
        "total": ledger.total(),
        "to_score": statuses.get(OK, 0),
        "scored": statuses.get(OK, 0) - remaining,
        "statuses": statuses,
        "seconds_left": _seconds_left(site, batch_id, remaining),
        "about": ledger.header().about,
    }


def _seconds_left(site: Site, batch_id: str, rows: int) -> float | None:
    try:
        return pace.expected_seconds(_batch(site, batch_id, request_fields(site, batch_id)), rows)
    except TrackserverError:  # the model may have been deleted; the scores are still shown
        return None


def export(site: Site, batch_id: str, kind: str) -> bytes:
    """The rows scored so far as a file, `.tsv` or `.vcf`."""
    ledger = ledger_of(site, batch_id)
    out = io.BytesIO()
    run.write_text(_batch(site, batch_id, request_fields(site, batch_id)), ledger, out, kind)
    return out.getvalue()


def _batch(site: Site, batch_id: str, fields: Mapping[str, Any]) -> Batch:
    return list_question(site, _folder(site) / batch_id / _LIST, ListRequest.from_fields(fields), CHUNK)


def _folder(site: Site) -> Path:
    return site.path / "batches"
