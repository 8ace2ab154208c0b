"""How long a site's models took for a row of the lists they scored, so that the next list's time can be told."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from trackserver.catalogue.site import Site
from trackserver.storage import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from trackserver.batches.question import Batch

_NEWEST = 0.3  # of the last stretch of work, in what is told


def expected(asked: Batch, rows: int) -> float | None:
    """Seconds that so many rows take, about; None where the model has scored none here yet."""
    each = _kept(asked.site).get(_key(asked))
    return None if each is None else each * rows


def took(asked: Batch, rows: int, seconds: float) -> None:
    """Note how long rows took. What cannot be written is not worth an error."""
    kept, key = _kept(asked.site), _key(asked)
    new = seconds / rows
    kept[key] = new if key not in kept else (1 - _NEWEST) * kept[key] + _NEWEST * new
    with suppress(OSError):
        write_whole(_file(asked.site), json.dumps(kept))


def _key(asked: Batch) -> str:
    """What time depends on: model, tracks, strands and shifts, device."""
    how = f"{asked.ensemble.words()}{' full' if asked.full else ''}"
    return f"{asked.card.id} {asked.card.weights_sha256[:12]} {len(asked.tracks)} {how} {asked.site.settings.device}"


def _kept(site: Site) -> dict[str, float]:
    try:
        return {str(key): float(value) for key, value in json.loads(_file(site).read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _file(site: Site) -> Path:
    return site.cache / "pace.json"
