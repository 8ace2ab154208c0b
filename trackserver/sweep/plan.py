"""What is read to predict regions of a genome, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import joined
from trackserver.models.card import ModelCard
from trackserver.sweep.windows import Window, tile

CHUNK_BP = 8 << 20  # kept in a chunk: what a kill costs at most


CHUNK_BYTES = 256 << 20  # of its values, which are held in memory twice for a moment


CHUNK_WINDOWS = 512  # in a chunk: no more than minutes of a large model on a processor


@dataclass(frozen=True)
class Plan:
    """What is predicted.

    wanted : regions on bins, in order; those near each other are read together, and what lies between left out again
    trim : bins at each side of what a window predicts that are not kept
    along : windows that are read as one, by a model that can
    tracks : how many
    """

    card: ModelCard
    assembly: Assembly
    wanted: tuple[Locus, ...]
    trim: int = 0
    along: int = 1
    tracks: int = 1

    @property
    def step(self) -> int:
        """The bp that a read keeps."""
        return self.card.window - 2 * (self.card.crop + self.trim * self.card.bin_width) + (
            (self.along - 1) * self.card.kept
        )  # fmt: skip

    @cached_property
    def chunks(self) -> list[list[Locus]]:
        """The regions that are read, in pieces that are predicted and kept together."""
        held = CHUNK_BYTES // (4 * self.tracks) * self.card.bin_width  # bp
        most = max(1, min(min(CHUNK_BP, held) // self.step, CHUNK_WINDOWS)) * self.step
        chunks: list[list[Locus]] = []
        room = 0
        for region in joined(self.wanted, self.card.kept):
            for start in range(region.start, region.end, most):
                piece = Locus(region.chrom, start, min(start + most, region.end))
                reads = -(-len(piece) // self.step) * self.step
                if reads > room:
                    chunks.append([])
                    room = most
                chunks[-1].append(piece)
                room -= reads
        return chunks

    @cached_property
    def n_bins(self) -> list[int]:
        """Of each chunk."""
        width = self.card.bin_width
        return [sum(-(-len(piece) // width) for piece in chunk) for chunk in self.chunks]

    def windows(self, number: int) -> Iterator[Window]:
        return tile(self.chunks[number], self.card, self.assembly, trim=self.trim, along=self.along)

    def amount(self, number: int) -> tuple[int, int]:
        """The bins and windows (as they are read) of a chunk."""
        return self.n_bins[number], sum(-(-len(piece) // self.step) for piece in self.chunks[number])

    def is_wanted(self, number: int) -> NDArray[np.bool_]:
        """(bins,) of a chunk."""
        return np.concatenate([self._of_piece(piece) for piece in self.chunks[number]])

    def _of_piece(self, piece: Locus) -> NDArray[np.bool_]:
        width = self.card.bin_width
        found = np.zeros(-(-len(piece) // width), bool)
        starts, ends = self._places[piece.chrom]
        for row in range(int(np.searchsorted(ends, piece.start, "right")), int(np.searchsorted(starts, piece.end))):
            first, last = max(starts[row], piece.start), min(ends[row], piece.end)
            found[(first - piece.start) // width : -(-(last - piece.start) // width)] = True
        return found

    @cached_property
    def _places(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        places = {}
        for chrom, regions in groupby(self.wanted, key=lambda region: region.chrom):
            pairs = np.array([(region.start, region.end) for region in regions])
            places[chrom] = pairs[:, 0], pairs[:, 1]
        return places
