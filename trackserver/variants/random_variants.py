"""Random substitutions, uniform over the known bases of a genome; several near each other share a window."""

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
from trackserver.variants.effect import SHARED, check_known, window_around

MOST_TRIES = 2000  # places that are not known sequence, one after another


class Draw:
    """Variants by number: the same for the same seed, whichever of them are asked for, in whichever order.

    A place is drawn uniformly over the known bases of the regions, then `per_window - 1` more without repetition from
    those around it that a model reads the same window for (on its own grid; models that place each variant in the
    middle have no such neighbours). So each variant alone is uniform over the known bases, and those of one window are
    near each other. ALT is one of the three other bases, each as likely.
    """

    def __init__(
        self, genome: Genome, assembly: Assembly, card: ModelCard, regions: Sequence[Locus], seed: int, per_window: int
    ):
        """`regions` are disjoint and in order; `per_window` is at least 1."""
        self.genome, self.assembly, self.card, self.seed = genome, assembly, card, seed
        self.regions = tuple(regions)
        self.per_window = per_window if card.placement == "grid" else 1
        self._ends = np.array(list(accumulate(len(region) for region in regions)))
        self._of_chrom: dict[str, list[Locus]] = {}
        for region in regions:
            self._of_chrom.setdefault(region.chrom, []).append(region)
        self.group = lru_cache(2)(self._group)

    def variant(self, number: int) -> Variant:
        """Raises `InvalidRequest` where hardly any of the regions is known sequence."""
        group, place = divmod(number, self.per_window)
        found = self.group(group)
        return found[place % len(found)]

    def _group(self, number: int) -> tuple[Variant, ...]:
        rng = np.random.default_rng([self.seed, number])
        first = self._place(rng)
        cell = cell_of(self.card, first, self.assembly.chromsizes[first.chrom])
        codes = self.genome.codes(cell)
        others = self._drawable(cell, codes)
        others = others[others != first.start - cell.start]
        more = rng.choice(others, size=min(self.per_window - 1, len(others)), replace=False)
        offsets = [first.start - cell.start, *more.tolist()]
        steps = rng.integers(1, 4, size=len(offsets))
        return tuple(
            Variant(cell.chrom, cell.start + at + 1, BASES[codes[at]], BASES[(codes[at] + step) % 4])
            for at, step in zip(offsets, steps, strict=True)
        )

    def _place(self, rng: np.random.Generator) -> Locus:
        for _ in range(MOST_TRIES):
            at = int(rng.integers(self._ends[-1]))
            row = int(np.searchsorted(self._ends, at, side="right"))
            region = self.regions[row]
            start = region.end - (int(self._ends[row]) - at)
            place = Locus(region.chrom, start, start + 1)
            if self._is_readable(place):
                return place
        raise InvalidRequest("Hardly any of these regions is known sequence: no random variants can be drawn there.")

    def _is_readable(self, place: Locus) -> bool:
        """Whether the base is known, and enough of what the model would read."""
        if self.genome.codes(place)[0] == N:
            return False
        window = window_around(self.card, place.chrom, place.start, self.assembly)
        try:
            check_known(self.genome.codes(window), window, self.assembly)
        except NoSequence:
            return False
        return True

    def _drawable(self, cell: Locus, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Offsets in the cell of known bases that lie in the regions."""
        inside, held = np.zeros(len(cell), bool), self._of_chrom[cell.chrom]
        first = bisect_right(held, cell.start, key=lambda region: region.end)
        last = bisect_left(held, cell.end, key=lambda region: region.start)
        for region in held[first:last]:
            inside[max(region.start - cell.start, 0) : region.end - cell.start] = True
        return np.flatnonzero(inside & (codes != N))


def cell_of(card: ModelCard, place: Locus, chrom_size: int) -> Locus:
    """The stretch around a base in which every variant has the same window."""
    if card.placement != "grid":
        return place
    width = card.bin_width * max(1, card.n_bins(card.window_on(chrom_size)) // SHARED)
    start = place.start // width * width
    return Locus(place.chrom, start, min(start + width, chrom_size))
