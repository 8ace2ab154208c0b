"""Computed answers of a site, each a directory: a description in strict JSON and the arrays it speaks of.

One appears whole or not at all, so a reader never sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import SiteReadOnly
from trackserver.storage import whole_folder


def read(file: Path) -> dict[str, Any] | None:
    """A description, or None where there is none."""
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def store(file: Path, described: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """A description and the arrays beside it, `name`.npy each.

    Raises
    ------
    SiteReadOnly
        The disk is full, or the site cannot be written.
    """
    place = file.parent
    try:
        with whole_folder(place) as part:
            for name, values in arrays.items():
                np.save(part / f"{name}.npy", values)
            (part / file.name).write_text(json.dumps(described, allow_nan=False))
    except OSError as error:
        raise SiteReadOnly(f"The {file.stem} cannot be stored in {place.parent}: {error.strerror}.") from error
