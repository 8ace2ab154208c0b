"""Finished chunks of an unfinished prediction on disk, and the question they belong to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, listing
from trackserver.storage import LOCK, Busy, locked, whole_file, write_whole

_QUESTION = "run.json"


class Chunks:
    """Numbered arrays in a folder. Each appears whole or not at all."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; raises `InvalidRequest` if another process holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / LOCK, wait=False):
                yield
        except Busy:
            raise InvalidRequest("Another process is already predicting these tracks.") from None

    def start(self, question: Mapping[str, Any], resume: bool) -> None:
        """Prepare the folder for a question: keep its chunks to resume from, or delete them.

        Raises
        ------
        InvalidRequest
            The chunks to resume from belong to another question.
        """
        question = json.loads(json.dumps(question))
        stored = self._stored_question()
        if resume and stored:
            if changed := [name.replace("_", " ") for name in question if stored.get(name) != question[name]]:
                raise InvalidRequest(
                    f"Cannot resume: since the run was stopped, {listing(changed)} changed. Use the same model, files "
                    "and options as before, or start again without --resume."
                )
            return
        for file in self.folder.iterdir():
            if file.name != LOCK:
                file.unlink()
        write_whole(self.folder / _QUESTION, json.dumps(question))

    def _stored_question(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / _QUESTION).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def has(self, number: int) -> bool:
        return self._path(number).exists()

    def save(self, number: int, values: NDArray[np.float32]) -> None:
        with whole_file(self._path(number)) as part, part.open("wb") as file:
            np.save(file, values)

    def load(self, number: int) -> NDArray[np.float32]:
        """A memory-mapped view of the file, which reads only what is used."""
        return np.asarray(np.load(self._path(number), mmap_mode="r"))

    def nbytes(self) -> int:
        """The size of all stored chunks."""
        return sum(file.stat().st_size for file in self.folder.glob("chunk-*.npy"))

    def delete(self) -> None:
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npy"
