"""Random substitutions, uniform over the known bases of a genome; neighbours share an input window."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, NoSequence
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Genome, N
from trackserver.genome.variant import Variant
from trackserver.models.card import ModelCard
from trackserver.variants.effect import GRID_STEPS, check_known, window_around

MAX_TRIES = 2000  # positions in unknown sequence, one after another, before giving up


class RandomVariants:
    """A numbered sequence of random variants. Number n is always the same for a seed, in whatever order it is computed.

    A position is drawn uniformly from the known bases of the regions, then `per_window - 1` more, without repetition,
    from its neighbours with the same input window (on the model's own grid; models that centre each variant have no
    such neighbours). So each variant by itself is uniform over the known bases, and those of one window are close
    together. ALT is one of the three other bases, with equal probability.
    """

    def __init__(
        self, genome: Genome, assembly: Assembly, card: ModelCard, regions: Sequence[Locus], seed: int, per_window: int
    ):
        """`regions` are disjoint and in order; `per_window` is at least 1."""
        self.genome, self.assembly, self.card, self.seed = genome, assembly, card, seed
        self.regions = tuple(regions)
        self.per_window = per_window if card.placement == "grid" else 1
        self._ends = np.array(list(accumulate(len(region) for region in regions)))
        self._by_chrom: dict[str, list[Locus]] = {}
        for region in regions:
            self._by_chrom.setdefault(region.chrom, []).append(region)
        self.group = lru_cache(2)(self._group)

    def variant(self, number: int) -> Variant:
        """The variant of a number; raises `InvalidRequest` if hardly any of the regions is known sequence."""
        group, index = divmod(number, self.per_window)
        variants = self.group(group)
        return variants[index % len(variants)]

    def _group(self, number: int) -> tuple[Variant, ...]:
        rng = np.random.default_rng([self.seed, number])
        first = self._random_base(rng)
        cell = cell_of(self.card, first, self.assembly.chromsizes[first.chrom])
        codes = self.genome.codes(cell)
        candidates = self._candidates(cell, codes)
        candidates = candidates[candidates != first.start - cell.start]
        neighbours = rng.choice(candidates, size=min(self.per_window - 1, len(candidates)), replace=False)
        offsets = [first.start - cell.start, *neighbours.tolist()]
        steps = rng.integers(1, 4, size=len(offsets))
        return tuple(
            Variant(cell.chrom, cell.start + offset + 1, BASES[codes[offset]], BASES[(codes[offset] + step) % 4])
            for offset, step in zip(offsets, steps, strict=True)
        )

    def _random_base(self, rng: np.random.Generator) -> Locus:
        for _ in range(MAX_TRIES):
            offset = int(rng.integers(self._ends[-1]))  # into all regions, laid end to end
            row = int(np.searchsorted(self._ends, offset, side="right"))
            region = self.regions[row]
            start = region.end - (int(self._ends[row]) - offset)
            base = Locus(region.chrom, start, start + 1)
            if self._is_predictable(base):
                return base
        raise InvalidRequest(
            "Hardly any of these regions is known sequence, so no random variants can be drawn there. Choose others."
        )

    def _is_predictable(self, base: Locus) -> bool:
        """Whether the base is known, and so is enough of the model's window around it."""
        if self.genome.codes(base)[0] == N:
            return False
        window = window_around(self.card, base.chrom, base.start, self.assembly)
        try:
            check_known(self.genome.codes(window), window, self.assembly)
        except NoSequence:
            return False
        return True

    def _candidates(self, cell: Locus, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Offsets in the cell of the known bases that lie in the regions."""
        inside, regions = np.zeros(len(cell), bool), self._by_chrom[cell.chrom]
        first = bisect_right(regions, cell.start, key=lambda region: region.end)
        last = bisect_left(regions, cell.end, key=lambda region: region.start)
        for region in regions[first:last]:
            inside[max(region.start - cell.start, 0) : region.end - cell.start] = True
        return np.flatnonzero(inside & (codes != N))


def cell_of(card: ModelCard, base: Locus, chrom_size: int) -> Locus:
    """The bases around one for which the model's input window is the same."""
    if card.placement != "grid":
        return base
    width = card.bin_width * max(1, card.n_bins(card.window_length(chrom_size)) // GRID_STEPS)
    start = base.start // width * width
    return Locus(base.chrom, start, min(start + width, chrom_size))
