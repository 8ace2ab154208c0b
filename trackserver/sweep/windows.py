"""How windows tile a genome: every bin of the chosen regions is predicted once, from a window that sees around it.

Regions here are sorted in the assembly's order and disjoint; those "on bins" start where a bin does, and end where one
does or with their chromosome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard


@dataclass(frozen=True)
class Window:
    """`read` is what the model is shown (it may reach past the chromosome), `keep` what is taken of its output: the
    first bins of it.

    `keep` starts on the chromosome's bin grid; its last bin may reach past the chromosome's end.
    """

    read: Locus
    keep: Locus

    def n_bins(self, bin_width: int) -> int:
        return -(-len(self.keep) // bin_width)


def tile(
    regions: Iterable[Locus], card: ModelCard, assembly: Assembly, *, trim: int = 0, along: int = 1
) -> Iterator[Window]:
    """Windows whose kept bins cover each region exactly once, in order.

    Windows have the model's length, less on a chromosome that is shorter than that where the model allows it. The
    kept stretches of a region follow each other without gap or overlap; `card.crop` bp at each side of a window are
    never kept.

    Parameters
    ----------
    trim
        Bins at each side of what a window predicts that are not kept either; fewer than half of them.
    along
        Windows that are read as one, `card.kept` bp apart, by a model that can; at a region's end fewer.
    """
    lost = card.crop + trim * card.bin_width
    for region in regions:
        length = card.window_on(assembly.chromsizes[region.chrom], trim)
        start = region.start
        while start < region.end:
            more = min(along, -(-(region.end - start + 2 * lost - length) // card.kept) + 1) if along > 1 else 1
            read = length + (max(more, 1) - 1) * card.kept
            keep = Locus(region.chrom, start, min(start + read - 2 * lost, region.end))
            yield Window(Locus(region.chrom, start - lost, start - lost + read), keep)
            start = keep.end
