"""Find the intervals of a FASTA that have known sequence, so that a genome-wide prediction can leave out runs of N."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.gzip_text import open_text
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import IS_BASE
from trackserver.progress import Progress, no_progress

CHUNK_BYTES = 1 << 24


class _Record(NamedTuple):
    """A line of a .fai index. `offset` is where the sequence starts in the unzipped FASTA, in bytes.

    Each line of the sequence has `bases` bases, and `width` bytes with its line end.
    """

    name: str
    length: int
    offset: int
    bases: int
    width: int


def known_sequence(
    path: str | os.PathLike[str], index: str | os.PathLike[str], progress: Progress = no_progress
) -> Iterator[Locus]:
    """Yield the intervals of known bases (not N) of each sequence, in the file's order.

    Parameters
    ----------
    path, index
        A FASTA, plain or bgzip, and its .fai index.

    Raises
    ------
    UnreadableFile
        The FASTA is damaged or truncated.
    """
    records = [_parse_record(line) for line in Path(index).read_text().splitlines()]
    total, done = sum(record.length for record in records), 0
    with open_text(path) as file:
        for record in sorted(records, key=lambda record: record.offset):
            yield from _known_intervals(file, record)
            done += record.length
            progress(done, total)


def _parse_record(line: str) -> _Record:
    name, *numbers = line.split("\t")[:5]
    return _Record(name, *map(int, numbers))


def _known_intervals(file: IO[bytes], record: _Record) -> Iterator[Locus]:
    file.seek(record.offset)
    open_since = -1
    for start, is_base in _read_chunks(file, record):
        if open_since < 0 and not is_base.any():
            continue
        inside = np.concatenate([[open_since >= 0], is_base, [False]])
        changes = np.flatnonzero(inside[1:] != inside[:-1]) + start
        edges = changes if open_since < 0 else np.concatenate([[open_since], changes])
        # An interval that reaches the end of this chunk may continue in the next.
        open_since = int(edges[-2]) if len(edges) and edges[-1] == start + len(is_base) else -1
        pairs = edges[: len(edges) - 2 * (open_since >= 0)].reshape(-1, 2)
        yield from (Locus(record.name, int(first), int(end)) for first, end in pairs)
    if open_since >= 0:
        yield Locus(record.name, open_since, record.length)


def _read_chunks(file: IO[bytes], record: _Record) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Read a sequence in chunks: yields where each chunk starts, and for each letter whether it is a known base."""
    if not record.length:
        return
    lines = max(CHUNK_BYTES // record.width, 1)
    for start in range(0, record.length, lines * record.bases):
        count = min(lines * record.bases, record.length - start)
        full, rest = divmod(count, record.bases)
        block = file.read(full * record.width + rest)
        # Pad the block, because the file may end without a newline.
        is_base = np.frombuffer(block.translate(IS_BASE).ljust(full * record.width, b"\0"), np.bool_)
        if len(block) < full * record.width + rest - (record.width - record.bases):
            raise EOFError(f"it ends within {record.name}")
        full_lines = is_base[: full * record.width].reshape(full, record.width)[:, : record.bases].reshape(-1)
        yield start, np.concatenate([full_lines, is_base[full * record.width :]])
