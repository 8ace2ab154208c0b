"""Unfinished predictions on disk: chunks that count once they are renamed into place, and whose they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, listing
from trackserver.storage import LOCK, Busy, locked, whole_file, write_whole

_ASKED = "run.json"


class Chunks:
    """Arrays by number in a folder of their own, each whole or not there."""

    def __init__(self, place: Path):
        self.place = place

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this process works on them; raises `InvalidRequest` where another does."""
        self.place.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.place / LOCK, wait=False):
                yield
        except Busy:
            raise InvalidRequest("These tracks are being predicted already, by another process.") from None

    def begin(self, asked: Mapping[str, Any], resume: bool) -> None:
        """Make room for the chunks of a question, or go on with those there are.

        Raises
        ------
        InvalidRequest
            They are to be gone on with, but are of another question.
        """
        wanted = json.loads(json.dumps(asked))
        held = self._asked()
        if resume and held:
            if changed := [name.replace("_", " ") for name in wanted if held.get(name) != wanted[name]]:
                raise InvalidRequest(
                    f"What was begun cannot be gone on with: since then {listing(changed)} changed. Ask as before, or "
                    "begin anew without --resume."
                )
            return
        for file in self.place.iterdir():
            if file.name != LOCK:
                file.unlink()
        write_whole(self.place / _ASKED, json.dumps(wanted))

    def _asked(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.place / _ASKED).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def has(self, number: int) -> bool:
        return self._path(number).exists()

    def save(self, number: int, values: NDArray[np.float32]) -> None:
        with whole_file(self._path(number)) as part, part.open("wb") as file:
            np.save(file, values)

    def load(self, number: int) -> NDArray[np.float32]:
        """A view of the file: what of it is looked at is read."""
        return np.asarray(np.load(self._path(number), mmap_mode="r"))

    def nbytes(self) -> int:
        """What is kept."""
        return sum(file.stat().st_size for file in self.place.glob("chunk-*.npy"))

    def forget(self) -> None:
        shutil.rmtree(self.place)

    def _path(self, number: int) -> Path:
        return self.place / f"chunk-{number:06d}.npy"
