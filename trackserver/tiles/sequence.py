"""Tiles of the reference sequence: its letters, and the count of each base per bin."""

from __future__ import annotations

import os
from os import SEEK_END
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly, from_chromsizes
from trackserver.genome.chrom_names import check_sizes, own_names
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome
from trackserver.tiles import wire
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.multivec import multivec_info
from trackserver.tiles.tileset import TileId, check_on_grid

# In the order that frontend/src/sequencetrack.js and the plugin higlass-sequence need; the last means no sequence.
ROWS = ("A", "T", "G", "C", "N", "other")
_ABSENT = 5
_LETTERS = np.frombuffer(b"ACGTN ", np.uint8)  # by base code; the blank is for _ABSENT
_ROW_OF_CODE = np.array([ROWS.index(base) for base in "ACGTN"] + [_ABSENT])
MAX_BASES_PER_TILE = 1 << 16


class SequenceTileset:
    """A FASTA on the assembly's absolute grid.

    A tile has six rows with the counts of each base per bin. HiGlass' own multivec track draws them: at 1 bp per bin, a
    mark in the row of each base. The page's track, like the plugin higlass-sequence, writes letters instead. The field
    `sequence` has the letters themselves, for scripts, with blanks where there is no sequence.
    """

    def __init__(self, genome: Genome, grid: Grid, name: str):
        self.genome, self.grid, self.name = genome, grid, name
        self._own = own_names(fasta_sizes(genome), grid.assembly)

    def info(self) -> dict[str, Any]:
        info = multivec_info(self.grid, name=self.name, rows=ROWS)
        return info | {"max_tile_width": MAX_BASES_PER_TILE}

    def tile(self, tile: TileId) -> dict[str, Any]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        start, end = int(edges[0]), int(edges[-1])
        if end - start > MAX_BASES_PER_TILE:
            # An error and an array, because the client's track breaks without an array.
            blank = np.full((len(ROWS), TILE_SIZE), np.nan)
            return {**wire.dense(blank), "error": f"Zoom in to {MAX_BASES_PER_TILE:,} bp or less to see bases."}
        codes = self._codes(start, end)
        return {**wire.dense(base_counts(codes)), "sequence": _LETTERS[codes].tobytes().decode("ascii")}

    def _codes(self, start: int, end: int) -> Codes:
        """Return base codes, (end - start,); `_ABSENT` beyond the genome and on chromosomes that the FASTA lacks."""
        codes = np.full(end - start, _ABSENT, np.uint8)
        for segment in self.grid.assembly.segments(start, end):
            chrom, first, last = segment.locus.chrom, segment.locus.start, segment.locus.end
            if chrom in self._own:
                i = segment.offset - start
                codes[i : i + last - first] = self.genome.codes(Locus(self._own[chrom], first, last))
        return codes


def base_counts(codes: Codes) -> NDArray[np.float32]:
    """Count each row's base in each of TILE_SIZE equal bins, (6, TILE_SIZE)."""
    width = len(codes) // TILE_SIZE
    cells = _ROW_OF_CODE[codes] * TILE_SIZE + np.arange(len(codes)) // width
    counts = np.bincount(cells, minlength=len(ROWS) * TILE_SIZE)
    return counts.reshape(len(ROWS), TILE_SIZE).astype(np.float32)


def open_fasta(path: str | os.PathLike[str], grid: Grid, name: str) -> SequenceTileset:
    """Open an indexed FASTA as a tileset."""
    return SequenceTileset(Genome(path), grid, name)


def fasta_sizes(genome: Genome) -> dict[str, int]:
    """Return the lengths of the FASTA's sequences, by their names in the file."""
    if not genome.index.exists():
        name = genome.path.name
        raise UnreadableFile(f"{name} has no index {genome.index.name}; make one with: samtools faidx {name}.")
    return from_chromsizes(genome.path.name, genome.index).chromsizes


def check_fasta(path: str | os.PathLike[str], assembly: Assembly) -> None:
    """Raise unless a FASTA has an index, fits an assembly, and can be read to its end.

    Raises
    ------
    UnreadableFile
        The file is missing or truncated, or has no index.
    ChromosomesDoNotFit
        Its sequences are not those of the assembly.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"{path.name} is missing from {path.parent}.")
    genome = Genome(path)
    sizes = fasta_sizes(genome)
    check_sizes(path.name, sizes, assembly)
    if not _is_whole(genome):
        raise UnreadableFile(f"{path.name} is shorter than its index says: it is truncated. Copy or make it again.")
    for name, size in sizes.items():
        genome.codes(Locus(name, size - 1, size))


def _is_whole(genome: Genome) -> bool:
    """Return whether the file contains all of its last sequence; missing bases would be read as N."""
    with genome.path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            file.seek(-min(len(_BGZIP_END), genome.path.stat().st_size), SEEK_END)
            return file.read() == _BGZIP_END
        size = file.seek(0, SEEK_END)
    rows = (line.split("\t")[1:5] for line in genome.index.read_text().splitlines())
    for length, offset, bases, width in (map(int, row) for row in rows):
        lines, rest = divmod(length, bases) if bases else (0, 0)
        if offset + lines * width + rest - (0 if rest else width - bases) > size:
            return False
    return True


# The empty block at the end of a bgzip file, https://samtools.github.io/hts-specs/SAMv1.pdf, section 4.1.2.
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
