"""Storage of computed results: each is a folder with a description in strict JSON and its arrays.

A folder appears whole or not at all, so a reader never sees half a result.
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
    """Read a description; None if there is none."""
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(file: Path, description: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a description to `file`, and each array beside it as `name`.npy.

    Raises
    ------
    SiteReadOnly
        The disk is full, or the site cannot be written.
    """
    folder = file.parent
    try:
        with whole_folder(folder) as part:
            for name, values in arrays.items():
                np.save(part / f"{name}.npy", values)
            (part / file.name).write_text(json.dumps(description, allow_nan=False))
    except OSError as error:
        raise SiteReadOnly(f"The {file.stem} cannot be stored in {folder.parent}: {error.strerror}.") from error
