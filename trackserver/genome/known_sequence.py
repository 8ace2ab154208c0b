"""Where a FASTA has sequence, and where N: most of a whole-genome prediction of a sparse one is to be left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.gzip_text import opened
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import KNOWN
from trackserver.progress import Progress, no_progress

AT_ONCE = 1 << 24  # bytes


class _Record(NamedTuple):
    """A line of a .fai: where a sequence begins, in bytes of the (unpacked) FASTA, and how its lines are."""

    name: str
    length: int
    offset: int
    bases: int
    width: int


def known_sequence(path: Path, index: Path, progress: Progress = no_progress) -> Iterator[Locus]:
    """The stretches of known bases of each sequence, in the file's order.

    Parameters
    ----------
    path, index
        A FASTA, plain or bgzip, and its .fai.

    Raises
    ------
    UnreadableFile
        It is damaged, or ends too early.
    """
    records = [_record(line) for line in index.read_text().splitlines()]
    total, done = sum(record.length for record in records), 0
    with opened(path) as file:
        for record in sorted(records, key=lambda record: record.offset):
            yield from _of_sequence(file, record)
            done += record.length
            progress(done, total)


def _record(line: str) -> _Record:
    name, *numbers = line.split("\t")[:5]
    return _Record(name, *map(int, numbers))


def _of_sequence(file: IO[bytes], record: _Record) -> Iterator[Locus]:
    file.seek(record.offset)
    open_since = -1
    for start, here in _bases(file, record):
        if open_since < 0 and not here.any():
            continue
        inside = np.concatenate([[open_since >= 0], here, [False]])
        turns = np.flatnonzero(inside[1:] != inside[:-1]) + start
        begins = turns if open_since < 0 else np.concatenate([[open_since], turns])
        # What is known up to the end of this piece may go on in the next.
        open_since = int(begins[-2]) if len(begins) and begins[-1] == start + len(here) else -1
        pairs = begins[: len(begins) - 2 * (open_since >= 0)].reshape(-1, 2)
        yield from (Locus(record.name, int(first), int(end)) for first, end in pairs)
    if open_since >= 0:
        yield Locus(record.name, open_since, record.length)


def _bases(file: IO[bytes], record: _Record) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Piece by piece where it begins in a sequence, and which of its letters are bases."""
    if not record.length:
        return
    lines = max(AT_ONCE // record.width, 1)
    for start in range(0, record.length, lines * record.bases):
        count = min(lines * record.bases, record.length - start)
        full, rest = divmod(count, record.bases)
        block = file.read(full * record.width + rest)
        # The file may end without a newline.
        text = np.frombuffer(block.translate(KNOWN).ljust(full * record.width, b"\0"), np.bool_)
        if len(block) < full * record.width + rest - (record.width - record.bases):
            raise EOFError(f"it ends within {record.name}")
        whole = text[: full * record.width].reshape(full, record.width)[:, : record.bases].reshape(-1)
        yield start, np.concatenate([whole, text[full * record.width :]])
