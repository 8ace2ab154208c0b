"""How windows tile a genome: every bin of the chosen regions is predicted once, from a window that sees around it.

Regions here are sorted in the assembly's order and disjoint; those "on bins" start where a bin does, and end where one
does or with their chromosome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trackserver.errors import DataError, InvalidRequest
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


def whole_genome(assembly: Assembly) -> list[Locus]:
    return [Locus(chrom, 0, size) for chrom, size in assembly.chromsizes.items()]


def on_bins(regions: Iterable[Locus], assembly: Assembly, bin_width: int) -> list[Locus]:
    """Regions widened to whole bins, sorted in the assembly's order, touching ones merged."""
    order = {chrom: number for number, chrom in enumerate(assembly.chroms)}
    widened = sorted(
        (order[region.chrom], region.start // bin_width * bin_width, -(-region.end // bin_width) * bin_width)
        for region in map(assembly.check, regions)
    )
    merged: list[list[int]] = []
    for chrom, start, end in widened:
        if merged and merged[-1][0] == chrom and start <= merged[-1][2]:
            merged[-1][2] = max(merged[-1][2], end)
        else:
            merged.append([chrom, start, end])
    names = assembly.chroms
    return [Locus(names[c], start, min(end, assembly.sizes[c])) for c, start, end in merged]


def intersection(one: Sequence[Locus], other: Sequence[Locus], assembly: Assembly) -> list[Locus]:
    """What lies in both, of regions each of which is sorted and disjoint."""
    order = {chrom: number for number, chrom in enumerate(assembly.chroms)}
    found, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        a, b = one[i], other[j]
        if a.chrom == b.chrom and max(a.start, b.start) < min(a.end, b.end):
            found.append(Locus(a.chrom, max(a.start, b.start), min(a.end, b.end)))
        if (order[a.chrom], a.end) <= (order[b.chrom], b.end):
            i += 1
        else:
            j += 1
    return found


def difference(regions: Sequence[Locus], holes: Sequence[Locus], assembly: Assembly) -> list[Locus]:
    """What of the regions lies in none of the holes."""
    ends = {chrom: [Locus(chrom, 0, 0), Locus(chrom, size, size)] for chrom, size in assembly.chromsizes.items()}
    for hole in holes:
        ends[hole.chrom].insert(-1, hole)
    between = [
        Locus(chrom, before.end, after.start)
        for chrom, edges in ends.items()
        for before, after in pairwise(edges)
        if before.end < after.start
    ]
    return intersection(regions, between, assembly)


def joined(regions: Iterable[Locus], gap: int) -> list[Locus]:
    """The regions, those together between which less than `gap` bp lie."""
    found: list[Locus] = []
    for region in regions:
        if found and found[-1].chrom == region.chrom and region.start - found[-1].end < gap:
            found[-1] = Locus(region.chrom, found[-1].start, region.end)
        else:
            found.append(region)
    return found


def read_bed(path: Path, assembly: Assembly) -> list[Locus]:
    """The first three columns of a BED file, checked against the assembly."""
    regions = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as BED: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        fields = line.split("\t")
        try:
            locus = Locus(fields[0], int(fields[1]), int(fields[2]))
        except (IndexError, ValueError):
            raise DataError(f"{path}, line {number}: a BED line reads 'chrom<TAB>start<TAB>end'.") from None
        regions.append(assembly.check(locus))
    if not regions:
        raise InvalidRequest(f"{path} names no region.")
    return regions
