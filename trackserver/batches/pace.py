"""How long a site's models took per row of earlier lists, to estimate the time of the next one."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from trackserver.catalogue.site import Site
from trackserver.storage import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from trackserver.batches.question import Batch

_NEWEST_WEIGHT = 0.3  # of the latest measurement in the running mean


def expected_seconds(batch: Batch, rows: int) -> float | None:
    """About how long so many rows take; None if the site has not scored any with this model."""
    row_seconds = _read(batch.site).get(_key(batch))
    return None if row_seconds is None else row_seconds * rows


def record(batch: Batch, rows: int, seconds: float) -> None:
    """Record how long rows took. Not being able to write it is no error."""
    pace, key = _read(batch.site), _key(batch)
    new = seconds / rows
    pace[key] = new if key not in pace else (1 - _NEWEST_WEIGHT) * pace[key] + _NEWEST_WEIGHT * new
    with suppress(OSError):
        write_whole(_file(batch.site), json.dumps(pace))


def _key(batch: Batch) -> str:
    """What the time depends on: model, tracks, strands and shifts, device."""
    ensemble = f"{batch.ensemble.description()}{' full' if batch.full else ''}"
    device = batch.site.settings.device
    return f"{batch.card.id} {batch.card.weights_sha256[:12]} {len(batch.tracks)} {ensemble} {device}"


def _read(site: Site) -> dict[str, float]:
    """Seconds per row, by `_key`; a damaged file counts as empty."""
    try:
        return {str(key): float(value) for key, value in json.loads(_file(site).read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _file(site: Site) -> Path:
    return site.cache / "pace.json"
