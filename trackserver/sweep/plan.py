"""The plan of a sweep: which regions are predicted, in which chunks and windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import merge_nearby
from trackserver.models.card import ModelCard
from trackserver.sweep.windows import Window, tile

# Limits of a chunk, which is what a killed run loses at most.
CHUNK_BP = 8 << 20
CHUNK_BYTES = 256 << 20  # of values, which are in memory twice for a moment
CHUNK_WINDOWS = 512  # at most minutes of a large model on a CPU


@dataclass(frozen=True)
class Plan:
    """What a sweep predicts.

    regions : on bins, in order; regions near each other are read together, and the bins between them are masked
    trim : bins left out at each end of a window's predictions
    windows_at_once : windows that are read as one, by a model that can
    tracks : number of tracks
    """

    card: ModelCard
    assembly: Assembly
    regions: tuple[Locus, ...]
    trim: int = 0
    windows_at_once: int = 1
    tracks: int = 1

    @property
    def step(self) -> int:
        """The bp that one read predicts and keeps."""
        return self.card.window - 2 * (self.card.crop + self.trim * self.card.bin_width) + (
            (self.windows_at_once - 1) * self.card.predicted_bp
        )  # fmt: skip

    @cached_property
    def chunks(self) -> list[list[Locus]]:
        """The stretches that are read, grouped into chunks that are predicted and stored together."""
        max_bp = CHUNK_BYTES // (4 * self.tracks) * self.card.bin_width
        chunk_bp = max(1, min(min(CHUNK_BP, max_bp) // self.step, CHUNK_WINDOWS)) * self.step
        chunks: list[list[Locus]] = []
        room = 0
        for region in merge_nearby(self.regions, self.card.predicted_bp):
            for start in range(region.start, region.end, chunk_bp):
                piece = Locus(region.chrom, start, min(start + chunk_bp, region.end))
                read_bp = -(-len(piece) // self.step) * self.step
                if read_bp > room:
                    chunks.append([])
                    room = chunk_bp
                chunks[-1].append(piece)
                room -= read_bp
        return chunks

    @cached_property
    def n_bins(self) -> list[int]:
        """The number of bins in each chunk."""
        width = self.card.bin_width
        return [sum(-(-len(piece) // width) for piece in chunk) for chunk in self.chunks]

    def windows(self, number: int) -> Iterator[Window]:
        return tile(self.chunks[number], self.card, self.assembly, trim=self.trim, windows_at_once=self.windows_at_once)

    def chunk_size(self, number: int) -> tuple[int, int]:
        """The number of bins and of reads in a chunk."""
        return self.n_bins[number], sum(-(-len(piece) // self.step) for piece in self.chunks[number])

    def mask(self, number: int) -> NDArray[np.bool_]:
        """(bins,) which bins of a chunk lie in the regions."""
        return np.concatenate([self._piece_mask(piece) for piece in self.chunks[number]])

    def _piece_mask(self, piece: Locus) -> NDArray[np.bool_]:
        width = self.card.bin_width
        mask = np.zeros(-(-len(piece) // width), bool)
        starts, ends = self._region_edges[piece.chrom]
        for row in range(int(np.searchsorted(ends, piece.start, "right")), int(np.searchsorted(starts, piece.end))):
            first, last = max(starts[row], piece.start), min(ends[row], piece.end)
            mask[(first - piece.start) // width : -(-(last - piece.start) // width)] = True
        return mask

    @cached_property
    def _region_edges(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Starts and ends of the regions on each chromosome."""
        edges = {}
        for chrom, regions in groupby(self.regions, key=lambda region: region.chrom):
            start_end = np.array([(region.start, region.end) for region in regions])
            edges[chrom] = start_end[:, 0], start_end[:, 1]
        return edges
