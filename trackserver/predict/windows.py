"""How windows tile a genome: every bin of the chosen regions is predicted once, from a window that sees around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


def tile(regions: Iterable[Locus], card: ModelCard, assembly: Assembly) -> Iterator[Window]:
    """Windows whose kept bins cover each region exactly once, in order.

    Windows have the model's length, less on a chromosome that is shorter than that where the model allows it. The
    kept stretches of a region follow each other without gap or overlap; `card.crop` bp at each side of a window are
    never kept.
    """
    for region in regions:
        length = card.window_on(assembly.chromsizes[region.chrom])
        step = length - 2 * card.crop
        for start in range(region.start, region.end, step):
            keep = Locus(region.chrom, start, min(start + step, region.end))
            read_start = start - card.crop
            yield Window(Locus(region.chrom, read_start, read_start + length), keep)


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
