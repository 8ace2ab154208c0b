"""Read windows of a FASTA as base codes, and convert base codes to strings and one-hot arrays.

The base codes are 0 for A, 1 for C, 2 for G, 3 for T, and 4 for anything else: N, other IUPAC codes, and positions
beyond the chromosome's ends. Lower case (soft-masked) counts like upper case.
"""

from __future__ import annotations

import gzip
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import DataError, UnknownChromosome
from trackserver.genome.locus import Locus
from trackserver.progress import Progress, no_progress
from trackserver.storage import new_folder, publish

BASES = "ACGT"
N = 4

Codes = NDArray[np.uint8]

_CODE_OF_BYTE = np.full(256, N, dtype=np.uint8)
for _code, _base in enumerate(BASES):
    _CODE_OF_BYTE[[ord(_base), ord(_base.lower())]] = _code
IS_BASE = bytes(_CODE_OF_BYTE < N)  # a table for `bytes.translate`: 1 for a base, 0 for anything else


def encode(sequence: str) -> Codes:
    """Convert a string to base codes (L,)."""
    return _CODE_OF_BYTE[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]


def decode(codes: Codes) -> str:
    """Convert base codes to a string of A, C, G, T and N."""
    return "".join("ACGTN"[code] for code in codes)


def reverse_complement(codes: Codes) -> Codes:
    """Return the opposite strand, 5' to 3', along the last axis; N stays N."""
    return np.where(codes < N, 3 - codes, codes)[..., ::-1].astype(np.uint8)


def one_hot(codes: Codes, n_value: float = 0.0) -> NDArray[np.float32]:
    """Convert base codes (..., L) to one-hot float32 (..., 4, L), in order A C G T; N is `n_value` in all four rows."""
    table = np.vstack([np.eye(4, dtype=np.float32), np.full((1, 4), n_value, dtype=np.float32)])
    return np.ascontiguousarray(np.moveaxis(table[codes], -1, -2))


class Genome:
    """A FASTA file, plain or bgzip, from which windows are read.

    The object stores only paths, and each thread of each process opens the file once for itself. So a genome can be
    pickled and survives a fork.
    """

    def __init__(self, path: str | os.PathLike[str], index: str | os.PathLike[str] | None = None):
        self.path = Path(path)
        self.index = Path(index or f"{self.path}.fai")
        self._thread = threading.local()

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[Genome], tuple[Path, Path]]:
        return Genome, (self.path, self.index)

    def codes(self, locus: Locus) -> Codes:
        """Return the base codes of a locus, (len(locus),); positions beyond the chromosome's ends are N."""
        start, letters = self._letters(locus)
        codes = np.full(len(locus), N, dtype=np.uint8)
        codes[start - locus.start : start - locus.start + len(letters)] = encode(letters)
        return codes

    def masked_fraction(self, locus: Locus) -> float:
        """Return the fraction of lower-case (soft-masked, repeat) letters in the part of a locus on the chromosome."""
        _, letters = self._letters(locus)
        return sum(map(str.islower, letters)) / len(letters) if letters else 0.0

    def _letters(self, locus: Locus) -> tuple[int, str]:
        """Read the part of a locus that is on the chromosome; returns its start, and its letters as in the file."""
        import pyfaidx

        fasta = self._fasta()
        try:
            record = fasta[locus.chrom]
        except KeyError:
            raise UnknownChromosome(locus.chrom, self.path.name, fasta.keys()) from None
        start, end = max(locus.start, 0), min(locus.end, len(record))
        try:
            return start, record[start:end] if start < end else ""
        except (pyfaidx.FetchError, OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be read at {locus}: {error}") from error

    def _fasta(self):  # type: ignore[no-untyped-def]  # pyfaidx has no types
        if getattr(self._thread, "process", None) != os.getpid():
            self._thread.fasta, self._thread.process = self._open(), os.getpid()
        return self._thread.fasta

    def _open(self):  # type: ignore[no-untyped-def]
        import pyfaidx

        if not self.path.exists():
            raise DataError(f"The FASTA {self.path} is missing; restore it or correct its path in trackserver.toml.")
        if not self.index.exists():
            raise DataError(f"{self.path} has no index {self.index.name}; build it with `trackserver check`.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an index copied with its FASTA may seem a second older
            try:
                return pyfaidx.Fasta(
                    str(self.path),
                    as_raw=True,
                    rebuild=False,
                    build_index=False,
                    indexname=str(self.index),
                    gzi_indexname=str(self.index.with_suffix(".gzi")),
                )
            except (pyfaidx.FastaIndexingError, pyfaidx.UnsupportedCompressionFormat, OSError, ValueError) as error:
                raise DataError(f"{self.path} cannot be read as FASTA: {error}") from error


def build_index(path: str | os.PathLike[str], index: str | os.PathLike[str], progress: Progress = no_progress) -> None:
    """Write the .fai index of a FASTA atomically, and for bgzip also the .gzi.

    Raises
    ------
    DataError
        The lines of a sequence differ in length, or the file is not a FASTA.
    """
    path, index = Path(path), Path(index)
    total = path.stat().st_size
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines: IO[bytes] = gzip.open(raw) if is_gzip else raw  # type: ignore[assignment]
        try:
            rows = list(_index_rows(lines, lambda: progress(raw.tell(), total)))
        except (OSError, EOFError) as error:
            raise DataError(f"{path} cannot be read as FASTA: {error}") from error
    with new_folder(index.parent, index.name) as folder:
        new_index = folder / index.name
        new_index.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        if is_gzip:
            _build_block_index(path, new_index)
            publish(new_index.with_suffix(".gzi"), index.with_suffix(".gzi"))
        publish(new_index, index)


def _index_rows(lines: IO[bytes], tick: Callable[[], object]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield `name, length, offset, bases per line, bytes per line` of each sequence, as in samtools faidx."""
    name, length, offset, bases, width, short = "", 0, 0, 0, 0, False
    position = 0
    for number, line in enumerate(lines):
        position += len(line)
        if number % 100_000 == 0:
            tick()
        if line.startswith(b">"):
            if name:
                yield name, length, offset, bases, width
            name = (line[1:].split() or [b""])[0].decode()
            length, offset, bases, width, short = 0, position, 0, 0, False
            continue
        stripped = len(line.rstrip(b"\r\n"))
        if not name or (short and stripped) or (bases and stripped > bases):
            raise DataError(
                f"Line {number + 1} is not FASTA: all lines of a sequence except the last must have the same length."
            )
        bases, width = bases or stripped, width or len(line)
        short = short or stripped < bases
        length += stripped
    tick()
    if not name:
        raise DataError("The file has no FASTA sequence (no line starts with '>').")
    yield name, length, offset, bases, width


def _build_block_index(path: Path, index: Path) -> None:
    import pyfaidx

    try:
        pyfaidx.Faidx(str(path), indexname=str(index), gzi_indexname=str(index.with_suffix(".gzi")), rebuild=False)
    except (OSError, ValueError, pyfaidx.FastaIndexingError) as error:
        raise DataError(
            f"{path} is gzip but not bgzip, so it cannot be read by position; unzip it with gunzip, then use bgzip."
        ) from error
