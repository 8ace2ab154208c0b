"""Gene models from UCSC's refGene table: search by name, transcription start sites, exons, the nearest gene."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trackserver.errors import DataError
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus

# Columns of the table refGene that are read, https://genome.ucsc.edu/cgi-bin/hgTables
_NAME, _CHROM, _STRAND, _TX_START, _TX_END, _CDS_START, _CDS_END, _EXON_STARTS, _EXON_ENDS, _SYMBOL = (
    1, 2, 3, 4, 5, 6, 7, 9, 10, 12,
)  # fmt: skip


@dataclass(frozen=True)
class Gene:
    """A gene by its longest transcript; positions 0-based half-open, as in refGene."""

    name: str
    transcript: str
    locus: Locus
    strand: str
    cds_start: int
    cds_end: int
    exon_starts: tuple[int, ...]
    exon_ends: tuple[int, ...]

    @property
    def tss(self) -> int:
        """0-based position of the first transcribed base."""
        return self.locus.start if self.strand == "+" else self.locus.end - 1

    @property
    def coding(self) -> bool:
        return self.cds_end > self.cds_start


class Genes:
    """The genes of an assembly, one entry a gene and chromosome, sorted by place."""

    def __init__(self, assembly: Assembly, genes: list[Gene]):
        self.assembly = assembly
        order = {chrom: number for number, chrom in enumerate(assembly.chroms)}
        self._genes = sorted(genes, key=lambda g: (order[g.locus.chrom], g.locus.start, g.locus.end, g.name))
        self._by_chrom: dict[str, list[Gene]] = {chrom: [] for chrom in assembly.chroms}
        for gene in self._genes:
            self._by_chrom[gene.locus.chrom].append(gene)
        self._starts = {chrom: [gene.locus.start for gene in held] for chrom, held in self._by_chrom.items()}
        self._longest = {
            chrom: max((len(gene.locus) for gene in held), default=0) for chrom, held in self._by_chrom.items()
        }
        self._lower = [(gene.name.lower(), gene) for gene in self._genes]

    def __len__(self) -> int:
        return len(self._genes)

    def __iter__(self) -> Iterator[Gene]:
        return iter(self._genes)

    def named(self, name: str) -> Gene | None:
        """The gene of exactly this name, whatever its case."""
        wanted = name.lower()
        return next((gene for lower, gene in self._lower if lower == wanted), None)

    def search(self, text: str, most: int = 10) -> list[Gene]:
        """Genes whose name holds the text: exact first, then beginnings, then the rest, shorter names first."""
        wanted = text.lower()
        if not wanted:
            return []
        hits = [(lower != wanted, not lower.startswith(wanted), len(lower), lower, number)
                for number, (lower, _) in enumerate(self._lower) if wanted in lower]  # fmt: skip
        return [self._genes[hit[-1]] for hit in sorted(hits)[:most]]

    def within(self, locus: Locus) -> list[Gene]:
        """Genes that overlap a locus, by place."""
        held = self._by_chrom[locus.chrom]
        first = bisect_left(self._starts[locus.chrom], locus.start - self._longest[locus.chrom])
        last = bisect_left(self._starts[locus.chrom], locus.end)
        return [gene for gene in held[first:last] if gene.locus.end > locus.start]

    def nearest(self, chrom: str, position: int) -> tuple[Gene, int] | None:
        """The gene whose TSS is nearest to a 0-based position, and the distance in bp; None on a bare chromosome."""
        held = self._by_chrom[chrom]
        if not held:
            return None
        gene = min(held, key=lambda g: (abs(g.tss - position), g.name))
        return gene, abs(gene.tss - position)


def read_refgene(path: Path, assembly: Assembly) -> Genes:
    """Genes of a UCSC refGene table (.txt or .txt.gz); transcripts on chromosomes the assembly lacks are left out."""
    longest: dict[tuple[str, str], list[str]] = {}
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                key = fields[_CHROM], fields[_SYMBOL]
                if fields[_CHROM] in assembly.chromsizes and (
                    key not in longest or _rank(fields) < _rank(longest[key])
                ):
                    longest[key] = fields
        return Genes(assembly, [_gene(fields) for fields in longest.values()])
    except FileNotFoundError:
        raise DataError(f"There is no gene table {path}; give UCSC's refGene.txt.gz.") from None
    except (ValueError, IndexError, OSError, EOFError) as error:
        raise DataError(f"{path} is not a UCSC refGene table (16 tab-separated columns): {error}.") from error


def _rank(fields: list[str]) -> tuple[int, str]:
    """The longest transcript first; of equally long ones the first by name."""
    return int(fields[_TX_START]) - int(fields[_TX_END]), fields[_NAME]


def _gene(fields: list[str]) -> Gene:
    return Gene(
        name=fields[_SYMBOL],
        transcript=fields[_NAME],
        locus=Locus(fields[_CHROM], int(fields[_TX_START]), int(fields[_TX_END])),
        strand=fields[_STRAND],
        cds_start=int(fields[_CDS_START]),
        cds_end=int(fields[_CDS_END]),
        exon_starts=_integers(fields[_EXON_STARTS]),
        exon_ends=_integers(fields[_EXON_ENDS]),
    )


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)
