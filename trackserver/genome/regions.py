"""Sets of intervals (repeats, a blacklist, folds, peaks): does a locus touch any, how much of it, which."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import DataError, InvalidRequest
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import opened
from trackserver.genome.locus import Locus

Positions = NDArray[np.int64]
_NOT_ROWS = (b"#", b"track", b"browser")


@dataclass(frozen=True, eq=False)
class _Stretch:
    """The intervals of a chromosome, by start, and what they cover together.

    `starts`, `ends`, `names` (n,); `reach` (n,) is the furthest end up to each; `begins`, `stops` (m,) the merged
    intervals, disjoint, and `covered` (m + 1,) the bases of those before each.
    """

    starts: Positions
    ends: Positions
    names: Positions
    reach: Positions
    begins: Positions
    stops: Positions
    covered: Positions

    def bases_before(self, positions: Positions) -> Positions:
        """How many of the bases before each 0-based position are covered."""
        number = np.searchsorted(self.begins, positions)
        beyond = np.maximum(self.stops[number - 1] - positions, 0)
        return np.where(number > 0, self.covered[number] - beyond, 0)


class Regions:
    """Intervals on an assembly's chromosomes, each with a name where the file gives one."""

    def __init__(self, stretches: dict[str, _Stretch], names: tuple[str, ...]):
        self._stretches, self._names = stretches, names

    @classmethod
    def read(cls, path: Path, assembly: Assembly) -> Regions:
        """Intervals of a BED (or narrowPeak and the like), plain or gzip; the fourth column names them.

        Intervals on chromosomes that the assembly lacks are left out. About 40 bytes an interval are kept.

        Raises
        ------
        DataError
            A line, which is named, is no BED line, or lies beyond its chromosome.
        ChromosomesDoNotFit
            It has no chromosome of the assembly.
        """
        chroms, names = Chromosomes(assembly), {b"": 0}
        held = {chrom: array("q") for chrom in assembly.chroms}
        with opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.startswith(_NOT_ROWS) or line.isspace():
                    continue
                fields = line.split(b"\t", 4) if b"\t" in line else line.split(None, 4)
                try:
                    chrom, start, end = _interval(fields, chroms)
                except ValueError as error:
                    raise DataError(f"{path.name}, line {number}: {error}.") from None
                if start < end and chrom in held:
                    name = fields[3].strip() if len(fields) > 3 else b""
                    held[chrom].extend((start, end, names.setdefault(name, len(names))))
        if chroms:
            chroms.check(path.name)
        stretches = {
            chrom: _stretch(np.frombuffer(rows, np.int64).reshape(-1, 3)) for chrom, rows in held.items() if rows
        }
        return cls(stretches, tuple(name.decode("utf-8", "replace") for name in names))

    def __len__(self) -> int:
        return sum(len(held.starts) for held in self._stretches.values())

    def touches(self, locus: Locus) -> bool:
        """Whether any base of the locus lies in one of the intervals."""
        return self.overlap(locus) > 0

    def overlap(self, locus: Locus) -> int:
        """How many bases of the locus lie in the intervals; one that several cover counts once."""
        held = self._stretches.get(locus.chrom)
        return int(np.diff(held.bases_before(np.array([locus.start, locus.end])))[0]) if held else 0

    def names(self, locus: Locus) -> tuple[str, ...]:
        """The names of the intervals that touch the locus, each once, in order of place; those without one left out."""
        held = self._stretches.get(locus.chrom)
        if not held:
            return ()
        first = int(np.searchsorted(held.reach, locus.start, side="right"))
        last = int(np.searchsorted(held.starts, locus.end))
        touching = held.names[first:last][held.ends[first:last] > locus.start]
        return tuple(self._names[number] for number in dict.fromkeys(touching.tolist()) if number)

    def loci(self, chrom: str) -> list[Locus]:
        """What the intervals cover of a chromosome, merged, in order."""
        held = self._stretches.get(chrom)
        pairs = zip(held.begins.tolist(), held.stops.tolist(), strict=True) if held else ()
        return [Locus(chrom, start, end) for start, end in pairs]


def covered_bases(starts: Positions, ends: Positions, edges: Positions) -> Positions:
    """(len(edges) - 1,) how many bases between neighbouring edges lie in intervals, which may overlap, in any order."""
    if not len(starts):
        return np.zeros(len(edges) - 1, np.int64)
    return np.diff(_stretch(np.stack([starts, ends, np.zeros_like(starts)], axis=1)).bases_before(edges))


def _interval(fields: list[bytes], chroms: Chromosomes) -> tuple[str, int, int]:
    """Chromosome, start and end of a BED line."""
    try:
        start, end = int(fields[1]), int(fields[2])
    except (IndexError, ValueError):
        start, end = -1, -1
    if not 0 <= start <= end:
        raise ValueError("a BED line reads 'chrom<TAB>start<TAB>end', positions counted from 0")
    chrom, size = chroms[fields[0]]
    if size and end > size:
        raise ValueError(f"it ends at {end:,}, beyond {chrom}, which is {size:,} bp long here; is it another assembly?")
    return chrom, start, end


def _stretch(rows: Positions) -> _Stretch:
    """A chromosome's intervals from rows (n, 3) of start, end and name."""
    starts, ends, names = rows[np.lexsort((rows[:, 1], rows[:, 0]))].T
    reach = np.maximum.accumulate(ends)
    first = np.flatnonzero(np.r_[True, starts[1:] > reach[:-1]])
    begins, stops = starts[first], reach[np.r_[first[1:] - 1, len(reach) - 1]]
    covered = np.r_[0, np.cumsum(stops - begins)]
    return _Stretch(*(np.ascontiguousarray(part) for part in (starts, ends, names, reach, begins, stops, covered)))


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
