"""Sets of intervals, such as repeats, a blacklist or peaks: overlap with a locus, and set operations."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import DataError, InvalidRequest
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import open_text
from trackserver.genome.locus import Locus

Positions = NDArray[np.int64]
_HEADER_PREFIXES = (b"#", b"track", b"browser")


@dataclass(frozen=True, eq=False)
class _ChromRegions:
    """The intervals of one chromosome, sorted by start, and the same intervals merged.

    `starts`, `ends`, `names` (n,) are the intervals, and `reach` (n,) the largest end so far. `begins`, `stops` (m,)
    are the merged intervals, which are disjoint, and `covered` (m + 1,) is the number of bases in those before each.
    """

    starts: Positions
    ends: Positions
    names: Positions
    reach: Positions
    begins: Positions
    stops: Positions
    covered: Positions

    def bases_before(self, positions: Positions) -> Positions:
        """Count the covered bases before each 0-based position."""
        number = np.searchsorted(self.begins, positions)
        beyond = np.maximum(self.stops[number - 1] - positions, 0)
        return np.where(number > 0, self.covered[number] - beyond, 0)


class Regions:
    """Intervals on an assembly's chromosomes, each with a name where the file gives one."""

    def __init__(self, by_chrom: dict[str, _ChromRegions], names: tuple[str, ...]):
        self._by_chrom, self._names = by_chrom, names

    @classmethod
    def read(cls, path: str | os.PathLike[str], assembly: Assembly) -> Regions:
        """Read a BED file (or narrowPeak and the like), plain or gzip; the fourth column gives the names.

        Intervals on chromosomes that the assembly lacks are left out. Each interval takes about 40 bytes of memory.

        Raises
        ------
        DataError
            A line is not a BED line or lies beyond its chromosome; the error gives its number.
        ChromosomesDoNotFit
            The file has no chromosome of the assembly.
        """
        path = Path(path)
        chroms, names = Chromosomes(assembly), {b"": 0}
        rows = {chrom: array("q") for chrom in assembly.chroms}
        for number, fields in read_bed_lines(path):
            chrom, start, end = _interval_on(chroms, path, number, fields)
            if start < end and chrom in rows:
                name = fields[3].strip() if len(fields) > 3 else b""
                rows[chrom].extend((start, end, names.setdefault(name, len(names))))
        if chroms:
            chroms.check(path.name)
        by_chrom = {chrom: _merge(np.frombuffer(flat, np.int64).reshape(-1, 3)) for chrom, flat in rows.items() if flat}
        return cls(by_chrom, tuple(name.decode("utf-8", "replace") for name in names))

    def __len__(self) -> int:
        return sum(len(on_chrom.starts) for on_chrom in self._by_chrom.values())

    def touches(self, locus: Locus) -> bool:
        """Return whether any base of the locus is in an interval."""
        return self.overlap(locus) > 0

    def overlap(self, locus: Locus) -> int:
        """Count the bases of the locus that are in at least one interval."""
        on_chrom = self._by_chrom.get(locus.chrom)
        return int(np.diff(on_chrom.bases_before(np.array([locus.start, locus.end])))[0]) if on_chrom else 0

    def names(self, locus: Locus) -> tuple[str, ...]:
        """Return the names of the intervals that overlap the locus, each once, sorted by position."""
        on_chrom = self._by_chrom.get(locus.chrom)
        if not on_chrom:
            return ()
        first = int(np.searchsorted(on_chrom.reach, locus.start, side="right"))
        last = int(np.searchsorted(on_chrom.starts, locus.end))
        overlapping = on_chrom.names[first:last][on_chrom.ends[first:last] > locus.start]
        return tuple(self._names[number] for number in dict.fromkeys(overlapping.tolist()) if number)

    def loci(self, chrom: str) -> list[Locus]:
        """Return the merged intervals of a chromosome, in order."""
        on_chrom = self._by_chrom.get(chrom)
        pairs = zip(on_chrom.begins.tolist(), on_chrom.stops.tolist(), strict=True) if on_chrom else ()
        return [Locus(chrom, start, end) for start, end in pairs]


def covered_bases(starts: Positions, ends: Positions, edges: Positions) -> Positions:
    """Count the bases between neighbouring edges that are in at least one interval, (len(edges) - 1,).

    The intervals may overlap and come in any order.
    """
    if not len(starts):
        return np.zeros(len(edges) - 1, np.int64)
    return np.diff(_merge(np.stack([starts, ends, np.zeros_like(starts)], axis=1)).bases_before(edges))


def read_bed_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[bytes]]]:
    """Read a BED file, plain or gzip: the number of each line that is no header, and its first four columns or more.

    Columns are separated by tabs, or by spaces where a line has no tab.
    """
    with open_text(Path(path)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.startswith(_HEADER_PREFIXES) and not line.isspace():
                yield number, line.split(b"\t", 4) if b"\t" in line else line.split(None, 4)


def bed_positions(path: str | os.PathLike[str], number: int, fields: list[bytes]) -> tuple[int, int]:
    """Return the start and the end of a BED line; raise DataError, which names the line, if it has none."""
    try:
        start, end = int(fields[1]), int(fields[2])
    except (IndexError, ValueError):
        start, end = -1, -1
    if not 0 <= start <= end:
        raise DataError(
            f"{Path(path).name}, line {number}: a BED line should be 'chrom<TAB>start<TAB>end', with positions counted "
            "from 0."
        )
    return start, end


def _interval_on(chroms: Chromosomes, path: Path, number: int, fields: list[bytes]) -> tuple[str, int, int]:
    """Return chromosome, start and end of a BED line, which must not lie beyond its chromosome."""
    start, end = bed_positions(path, number, fields)
    chrom, size = chroms[fields[0]]
    if size and end > size:
        raise DataError(
            f"{path.name}, line {number}: it ends at {end:,}, beyond {chrom}, which is {size:,} bp long here; is it "
            "from another assembly?"
        )
    return chrom, start, end


def _merge(rows: Positions) -> _ChromRegions:
    """Sort and merge a chromosome's intervals, given as rows (n, 3) of start, end and name."""
    starts, ends, names = rows[np.lexsort((rows[:, 1], rows[:, 0]))].T
    reach = np.maximum.accumulate(ends)
    first = np.flatnonzero(np.r_[True, starts[1:] > reach[:-1]])
    begins, stops = starts[first], reach[np.r_[first[1:] - 1, len(reach) - 1]]
    covered = np.r_[0, np.cumsum(stops - begins)]
    columns = (starts, ends, names, reach, begins, stops, covered)
    return _ChromRegions(*(np.ascontiguousarray(column) for column in columns))


def whole_genome(assembly: Assembly) -> list[Locus]:
    """Return every chromosome as one locus."""
    return [Locus(chrom, 0, size) for chrom, size in assembly.chromsizes.items()]


def on_bins(regions: Iterable[Locus], assembly: Assembly, bin_width: int) -> list[Locus]:
    """Extend regions to whole bins, sort them in the assembly's order and merge those that touch."""
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
    """Return the intersection of two lists of sorted, disjoint regions."""
    order = {chrom: number for number, chrom in enumerate(assembly.chroms)}
    common, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        a, b = one[i], other[j]
        if a.chrom == b.chrom and max(a.start, b.start) < min(a.end, b.end):
            common.append(Locus(a.chrom, max(a.start, b.start), min(a.end, b.end)))
        if (order[a.chrom], a.end) <= (order[b.chrom], b.end):
            i += 1
        else:
            j += 1
    return common


def difference(regions: Sequence[Locus], holes: Sequence[Locus], assembly: Assembly) -> list[Locus]:
    """Return the parts of the regions that are in none of the holes."""
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


def merge_nearby(regions: Iterable[Locus], gap: int) -> list[Locus]:
    """Merge regions that are less than `gap` bp apart; the regions must be sorted."""
    merged: list[Locus] = []
    for region in regions:
        if merged and merged[-1].chrom == region.chrom and region.start - merged[-1].end < gap:
            merged[-1] = Locus(region.chrom, merged[-1].start, region.end)
        else:
            merged.append(region)
    return merged


def read_bed(path: str | os.PathLike[str], assembly: Assembly) -> list[Locus]:
    """Read the first three columns of a BED file, plain or gzip, and check them against the assembly."""
    regions = [
        assembly.check(Locus(fields[0].decode("utf-8", "replace"), *bed_positions(path, number, fields)))
        for number, fields in read_bed_lines(path)
    ]
    if not regions:
        raise InvalidRequest(f"{path} contains no regions.")
    return regions
