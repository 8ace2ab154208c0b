"""An interval on a chromosome, and how to parse one that a user types."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trackserver.errors import BadLocus


@dataclass(frozen=True, order=True)
class Locus:
    """An interval of a chromosome, 0-based and half-open: `Locus("chr1", 0, 100)` is the first hundred bases."""

    chrom: str
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        """Format the locus for people: counted from 1, both ends included."""
        return f"{self.chrom}:{self.start + 1:,}-{self.end:,}"

    def overlaps(self, other: Locus) -> bool:
        return self.chrom == other.chrom and self.start < other.end and other.start < self.end


_PLAIN = re.compile(r"^(?P<chrom>[^:\s]+):(?P<start>\d[\d,]*)(?:-(?P<end>\d[\d,]*))?$")
_WHITESPACE = re.compile(r"\s+")


def parse_locus(text: str) -> Locus:
    """Parse `chr1:47,680,001-47,700,000`, `chr1:1kb-2M` or a single position `chr1:47,690,516`, counted from 1.

    `Assembly.check` checks the chromosome's name and size; this function does not.
    """
    compact = _WHITESPACE.sub("", text)
    if plain := _PLAIN.match(compact):
        start = int(plain["start"].replace(",", ""))
        end = int(plain["end"].replace(",", "")) if plain["end"] else start
        locus = Locus(plain["chrom"], start - 1, end)
    else:
        locus = _parse_units(text, compact)
    if not 0 <= locus.start < locus.end:
        raise BadLocus(f"'{text}' is not a locus: it should start at 1 or later and end after it starts.")
    return locus


def _parse_units(text: str, compact: str) -> Locus:
    from bioframe.core.stringops import parse_region_string  # late, because it imports matplotlib: a second

    try:
        chrom, start, end = parse_region_string(compact)
    except ValueError:
        raise _bad_locus(text) from None
    if not chrom or start is None or end is None:
        raise _bad_locus(text)
    return Locus(chrom, max(int(start) - 1, 0), int(end))


def _bad_locus(text: str) -> BadLocus:
    return BadLocus(f"'{text}' is not a locus; write chr1:47,680,001-47,700,000. Positions count from 1.")
