"""Tile a genome with windows, so that every bin of the regions is predicted once, with context on both sides.

Regions are sorted in the assembly's order and disjoint. Regions "on bins" start at the start of a bin, and end at the
end of a bin or of their chromosome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard


@dataclass(frozen=True)
class Window:
    """A model's input, and the part of its output that is kept.

    read : the input; it may reach past the chromosome's ends
    keep : the kept part, the first bins of the output; its last bin may reach past the chromosome's end
    """

    read: Locus
    keep: Locus

    def n_bins(self, bin_width: int) -> int:
        return -(-len(self.keep) // bin_width)


def tile(
    regions: Iterable[Locus], card: ModelCard, assembly: Assembly, *, trim: int = 0, windows_at_once: int = 1
) -> Iterator[Window]:
    """Tile regions with windows whose kept bins cover each region exactly once, in order.

    Windows have the model's length, less on a chromosome that is shorter than that where the model allows it. The
    kept stretches of a region follow each other without gap or overlap; `card.crop` bp at each side of a window are
    never kept.

    Parameters
    ----------
    trim
        Further bins left out at each end of a window's predictions; fewer than half of them.
    windows_at_once
        Windows that are read as one, `card.predicted_bp` bp apart, by a model that can; at a region's end fewer.
    """
    lost = card.crop + trim * card.bin_width
    for region in regions:
        length = card.window_length(assembly.chromsizes[region.chrom], trim)
        start = region.start
        while start < region.end:
            needed = -(-(region.end - start + 2 * lost - length) // card.predicted_bp) + 1
            more = min(windows_at_once, needed) if windows_at_once > 1 else 1
            read = length + (max(more, 1) - 1) * card.predicted_bp
            keep = Locus(region.chrom, start, min(start + read - 2 * lost, region.end))
            yield Window(Locus(region.chrom, start - lost, start - lost + read), keep)
            start = keep.end
