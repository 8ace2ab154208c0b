"""FASTA windows as base codes and one-hot arrays.

A base code is 0 A, 1 C, 2 G, 3 T, 4 anything else (N, IUPAC codes, beyond the chromosome's end); soft-masked
lower case reads like upper case.
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
KNOWN = bytes(_CODE_OF_BYTE < N)  # of each byte whether it is a base, for `bytes.translate`


def encode(sequence: str) -> Codes:
    """Base codes (L,) of a string."""
    return _CODE_OF_BYTE[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]


def decode(codes: Codes) -> str:
    return "".join("ACGTN"[code] for code in codes)


def reverse_complement(codes: Codes) -> Codes:
    """The other strand, read 5' to 3'; works on the last axis. N stays N."""
    return np.where(codes < N, 3 - codes, codes)[..., ::-1].astype(np.uint8)


def one_hot(codes: Codes, n_value: float = 0.0) -> NDArray[np.float32]:
    """(..., L) base codes -> (..., 4, L) float32, order A C G T; N is `n_value` in all four rows."""
    table = np.vstack([np.eye(4, dtype=np.float32), np.full((1, 4), n_value, dtype=np.float32)])
    return np.ascontiguousarray(np.moveaxis(table[codes], -1, -2))


class Genome:
    """A FASTA file, plain or bgzip, read by windows.

    What it carries is its path: each thread of each process opens the file for itself, once, so a genome
    pickles and survives a fork.
    """

    def __init__(self, path: Path, index: Path | None = None):
        self.path = path
        self.index = index or Path(f"{path}.fai")
        self._open_files = threading.local()

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r})"

    def __reduce__(self) -> tuple[type[Genome], tuple[Path, Path]]:
        return Genome, (self.path, self.index)

    def codes(self, locus: Locus) -> Codes:
        """Base codes (len(locus),); what lies beyond the chromosome's ends is N."""
        start, letters = self._letters(locus)
        codes = np.full(len(locus), N, dtype=np.uint8)
        codes[start - locus.start : start - locus.start + len(letters)] = encode(letters)
        return codes

    def masked(self, locus: Locus) -> float:
        """The share of lower-case letters, which mark repeats, in what of the locus lies on the chromosome."""
        _, letters = self._letters(locus)
        return sum(map(str.islower, letters)) / len(letters) if letters else 0.0

    def _letters(self, locus: Locus) -> tuple[int, str]:
        """What of a locus lies on the chromosome: where that begins, and its letters as the file has them."""
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

    def _fasta(self):  # type: ignore[no-untyped-def]  # pyfaidx carries no types
        if getattr(self._open_files, "process", None) != os.getpid():
            self._open_files.fasta, self._open_files.process = self._open(), os.getpid()
        return self._open_files.fasta

    def _open(self):  # type: ignore[no-untyped-def]
        import pyfaidx

        if not self.path.exists():
            raise DataError(f"The FASTA {self.path} is gone; put it back or correct trackserver.toml.")
        if not self.index.exists():
            raise DataError(f"{self.path} has no index {self.index.name}; `trackserver init` or `check` builds it.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an index copied with its FASTA may look a second older
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


def build_index(path: Path, index: Path, progress: Progress = no_progress) -> None:
    """Write the .fai (and, for bgzip, the .gzi) of a FASTA, whole or not at all.

    Raises
    ------
    DataError
        The lines of a sequence differ in length, or the file is no FASTA.
    """
    total = path.stat().st_size
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines: IO[bytes] = gzip.open(raw) if zipped else raw  # type: ignore[assignment]
        try:
            rows = list(_index_rows(lines, lambda: progress(raw.tell(), total)))
        except (OSError, EOFError) as error:
            raise DataError(f"{path} cannot be read as FASTA: {error}") from error
    with new_folder(index.parent, index.name) as folder:
        made = folder / index.name
        made.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        if zipped:
            _build_block_index(path, made)
            publish(made.with_suffix(".gzi"), index.with_suffix(".gzi"))
        publish(made, index)


def _index_rows(lines: IO[bytes], tick: Callable[[], object]) -> Iterator[tuple[str, int, int, int, int]]:
    """`name, length, offset, bases a line, bytes a line` of each sequence, as samtools faidx writes them."""
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
            raise DataError(f"Line {number + 1} is not FASTA: all lines of a sequence but its last are equally long.")
        bases, width = bases or stripped, width or len(line)
        short = short or stripped < bases
        length += stripped
    tick()
    if not name:
        raise DataError("The file holds no FASTA sequence (no line starts with '>').")
    yield name, length, offset, bases, width


def _build_block_index(path: Path, index: Path) -> None:
    import pyfaidx

    try:
        pyfaidx.Faidx(str(path), indexname=str(index), gzi_indexname=str(index.with_suffix(".gzi")), rebuild=False)
    except (OSError, ValueError, pyfaidx.FastaIndexingError) as error:
        raise DataError(
            f"{path} is gzip but not bgzip, so it cannot be read by position; repack it: gunzip it, then bgzip it."
        ) from error
