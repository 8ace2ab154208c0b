"""Gene models from UCSC's refGene table, GTF or GFF3: read them, search by name, find overlapping or nearest genes."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from trackserver.errors import DataError
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import open_text
from trackserver.genome.locus import Locus


@dataclass(frozen=True)
class Gene:
    """A gene, represented by its longest transcript; positions are 0-based half-open, as in refGene."""

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
    def exons(self) -> tuple[Locus, ...]:
        """The exons, sorted by position."""
        pairs = zip(self.exon_starts, self.exon_ends, strict=True)
        return tuple(Locus(self.locus.chrom, start, end) for start, end in pairs)

    @property
    def coding(self) -> bool:
        return self.cds_end > self.cds_start


class Genes:
    """The genes of an assembly, one entry per gene and chromosome, sorted by position."""

    def __init__(self, assembly: Assembly, genes: list[Gene]):
        self.assembly = assembly
        order = {chrom: number for number, chrom in enumerate(assembly.chroms)}
        self._genes = sorted(genes, key=lambda g: (order[g.locus.chrom], g.locus.start, g.locus.end, g.name))
        self._by_chrom: dict[str, list[Gene]] = {chrom: [] for chrom in assembly.chroms}
        for gene in self._genes:
            self._by_chrom[gene.locus.chrom].append(gene)
        self._starts = {chrom: [gene.locus.start for gene in on_chrom] for chrom, on_chrom in self._by_chrom.items()}
        self._max_length = {
            chrom: max((len(gene.locus) for gene in on_chrom), default=0) for chrom, on_chrom in self._by_chrom.items()
        }
        self._lower_names = [(gene.name.lower(), gene) for gene in self._genes]

    def __len__(self) -> int:
        return len(self._genes)

    def __iter__(self) -> Iterator[Gene]:
        return iter(self._genes)

    def by_name(self, name: str) -> Gene | None:
        """Return the gene with exactly this name, ignoring case."""
        query = name.lower()
        return next((gene for lower, gene in self._lower_names if lower == query), None)

    def search(self, text: str, limit: int = 10) -> list[Gene]:
        """Find genes whose name contains the text: exact matches first, then prefixes, then others, shorter first."""
        query = text.lower()
        if not query:
            return []
        hits = [(lower != query, not lower.startswith(query), len(lower), lower, number)
                for number, (lower, _) in enumerate(self._lower_names) if query in lower]  # fmt: skip
        return [self._genes[hit[-1]] for hit in sorted(hits)[:limit]]

    def overlapping(self, locus: Locus) -> list[Gene]:
        """Return the genes that overlap a locus, sorted by position."""
        on_chrom = self._by_chrom[locus.chrom]
        first = bisect_left(self._starts[locus.chrom], locus.start - self._max_length[locus.chrom])
        last = bisect_left(self._starts[locus.chrom], locus.end)
        return [gene for gene in on_chrom[first:last] if gene.locus.end > locus.start]

    def nearest(self, chrom: str, position: int) -> tuple[Gene, int] | None:
        """Find the gene whose TSS is nearest to a 0-based position; None if the chromosome has no genes.

        Returns the gene and the distance in bp.
        """
        on_chrom = self._by_chrom[chrom]
        if not on_chrom:
            return None
        gene = min(on_chrom, key=lambda g: (abs(g.tss - position), g.name))
        return gene, abs(gene.tss - position)


def read_genes(path: str | os.PathLike[str], assembly: Assembly) -> Genes:
    """Read genes from a refGene table, a GTF or a GFF3 (GENCODE, Ensembl, RefSeq), plain or gzip.

    The format is detected from the content. Each gene is represented by its longest transcript; among equally long
    transcripts, by the first in order of name. Transcripts on chromosomes that the assembly lacks are left out.

    Raises
    ------
    DataError
        The file has another format, or a line cannot be read or lies beyond its chromosome; the error names the line.
    ChromosomesDoNotFit
        The file has no chromosome of the assembly.
    """
    path = Path(path)
    with open_text(path) as file:
        read = _detect_reader(path.name, file)
    return read(path, assembly)


def _detect_reader(name: str, file: IO[bytes]) -> Callable[[Path, Assembly], Genes]:
    """Choose the reader by the file's first lines."""
    for line in file:
        if line.startswith(b"##gff-version") and b"3" in line:
            return read_gff3
        if line.startswith(b"#") or line.isspace():
            continue
        fields = line.rstrip(b"\r\n").split(b"\t")
        if len(fields) == 9 and fields[3].isdigit() and fields[4].isdigit():
            return read_gtf if b' "' in fields[8] else read_gff3
        if len(fields) > _SYMBOL and fields[_TX_START].isdigit():
            return read_refgene
        break
    raise DataError(f"{name} is not a gene table; give UCSC's refGene.txt.gz, a GTF or a GFF3 (GENCODE, Ensembl).")


def _read_lines(path: Path, read: Callable[[list[bytes]], None]) -> None:
    """Call `read` with the columns of every line except comments; errors get the line's number."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(b"#"):
                if line.startswith(b"##FASTA"):  # a GFF3 may end with the sequence
                    return
            elif not line.isspace():
                try:
                    read(line.split(b"\t"))
                except ValueError as error:
                    raise DataError(f"{path.name}, line {number}: {error}.") from None


def _interval(begin: bytes, end: bytes, counted_from: int, chrom: str, size: int) -> tuple[int, int]:
    """Parse the start and end columns as 0-based positions, and check them against the chromosome's size."""
    try:
        start, stop = int(begin) - counted_from, int(end)
    except ValueError:
        start, stop = -1, -1
    if not 0 <= start <= stop:
        raise ValueError(f"'{begin.decode()}' to '{end.decode()}' is not an interval on a chromosome")
    if stop > size:
        raise ValueError(
            f"a gene ends at {stop:,}, beyond {chrom}, which is {size:,} bp long here; "
            "was the file made with another assembly?"
        )
    return start, stop


# --- refGene ---------------------------------------------------------------------------------------------------------

# Columns, see https://genome.ucsc.edu/cgi-bin/hgTables
_NAME, _CHROM, _STRAND, _TX_START, _TX_END, _CDS_START, _CDS_END, _EXON_STARTS, _EXON_ENDS, _SYMBOL = (
    1, 2, 3, 4, 5, 6, 7, 9, 10, 12,
)  # fmt: skip


def read_refgene(path: str | os.PathLike[str], assembly: Assembly) -> Genes:
    """Read genes from a UCSC refGene table, one per symbol and chromosome; see `read_genes`."""
    path, chroms = Path(path), Chromosomes(assembly)
    longest: dict[tuple[str, bytes], tuple[tuple[int, bytes], list[bytes]]] = {}

    def read(fields: list[bytes]) -> None:
        if len(fields) <= _SYMBOL:
            raise ValueError(f"not a UCSC refGene table: the line has {len(fields)} tab-separated columns, not 16")
        chrom, size = chroms[fields[_CHROM]]
        if size:
            start, end = _interval(fields[_TX_START], fields[_TX_END], 0, chrom, size)
            gene, rank = (chrom, fields[_SYMBOL]), (start - end, fields[_NAME])
            if gene not in longest or rank < longest[gene][0]:
                longest[gene] = rank, fields

    _read_lines(path, read)
    chroms.check(path.name)
    return Genes(assembly, [_refgene_gene(chrom, fields) for (chrom, _), (_, fields) in longest.items()])


def _refgene_gene(chrom: str, fields: list[bytes]) -> Gene:
    return Gene(
        name=fields[_SYMBOL].decode(),
        transcript=fields[_NAME].decode(),
        locus=Locus(chrom, int(fields[_TX_START]), int(fields[_TX_END])),
        strand=fields[_STRAND].decode(),
        cds_start=int(fields[_CDS_START]),
        cds_end=int(fields[_CDS_END]),
        exon_starts=_integers(fields[_EXON_STARTS]),
        exon_ends=_integers(fields[_EXON_ENDS]),
    )


def _integers(text: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(b",") if part)


# --- GTF and GFF3 ----------------------------------------------------------------------------------------------------

_EXON, _CODING = b"exon", (b"CDS", b"stop_codon")  # GTF lists the stop codon separately, GFF3 and refGene in the CDS
_CHILDLESS = (b"UTR", b"five_prime_UTR", b"three_prime_UTR", b"start_codon", b"intron")  # GFF3 features without parts
_TRANSCRIPT_ID, _GENE_ID = re.compile(rb'transcript_id "([^"]+)"'), re.compile(rb'gene_id "([^"]+)"')
_GENE_NAME = re.compile(rb'gene(?:_name)? "([^"]+)"')
_PARENT, _ID = re.compile(rb"Parent=([^;\s]+)"), re.compile(rb"(?:^|;) ?ID=([^;\s]+)")
_NAMES = tuple(re.compile(rb"(?:^|;) ?" + key + rb"=([^;\r\n]+)") for key in (b"gene_name", b"Name", b"gene"))


@dataclass(slots=True)
class _Transcript:
    """A transcript, filled line by line: `exons` and `coding` alternate start, end, start, end."""

    strand: bytes
    gene: bytes
    name: bytes
    exons: array[int]
    coding: array[int]

    def span(self) -> tuple[int, int]:
        parts = self.exons or self.coding
        return min(parts), max(parts)


class _Transcripts:
    """Collects exons line by line, in a few hundred bytes per transcript."""

    def __init__(self, assembly: Assembly):
        self.assembly, self.chroms = assembly, Chromosomes(assembly)
        # Keyed by chromosome too, because pseudoautosomal genes have the same id on X and Y.
        self.transcripts: dict[tuple[str, bytes], _Transcript] = {}

    def add(self, fields: list[bytes], transcript_id: bytes) -> _Transcript | None:
        """Add an exon or a piece of a coding sequence; returns its transcript if that is new, else None."""
        chrom, size = self.chroms[fields[0]]
        if not size:
            return None
        start, end = _interval(fields[3], fields[4], 1, chrom, size)
        known = self.transcripts.get((chrom, transcript_id))
        transcript = known or _Transcript(fields[6], b"", b"", array("I"), array("I"))
        (transcript.exons if fields[2] == _EXON else transcript.coding).extend((start, end))
        if known:
            return None
        self.transcripts[chrom, transcript_id] = transcript
        return transcript

    def genes(self, file: str) -> Genes:
        """Return the genes, each represented by its longest transcript."""
        self.chroms.check(file)
        longest: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        for (chrom, transcript_id), transcript in self.transcripts.items():
            start, end = transcript.span()
            rank = start - end, transcript_id
            longest[chrom, transcript.gene] = min(rank, longest.get((chrom, transcript.gene), rank))
        keys = [(chrom, transcript_id) for (chrom, _), (_, transcript_id) in longest.items()]
        return Genes(self.assembly, [_gff_gene(*key, self.transcripts[key]) for key in keys])


def _gff_gene(chrom: str, transcript_id: bytes, transcript: _Transcript) -> Gene:
    start, end = transcript.span()
    parts = transcript.exons or transcript.coding
    exons = sorted(zip(parts[::2], parts[1::2], strict=True))
    return Gene(
        name=_plain_name(transcript.name),
        transcript=_plain_name(transcript_id),
        locus=Locus(chrom, start, end),
        strand="-" if transcript.strand == b"-" else "+",
        cds_start=min(transcript.coding, default=end),
        cds_end=max(transcript.coding, default=end),
        exon_starts=tuple(start for start, _ in exons),
        exon_ends=tuple(end for _, end in exons),
    )


def _plain_name(name: bytes) -> str:
    """Strip the type prefix from names such as `gene:ENSG00000162367` and `rna-NM_003189.6`, and unquote %2C."""
    return re.sub(r"^(gene|transcript|rna)[:-]", "", unquote(name.decode("utf-8", "replace")))


def _is_part(fields: list[bytes]) -> bool:
    """Return whether a line of a GTF or GFF3 is an exon or a piece of a coding sequence."""
    if len(fields) != 9:
        raise ValueError(f"it has {len(fields)} tab-separated columns instead of nine")
    return fields[2] == _EXON or fields[2] in _CODING


def read_gtf(path: str | os.PathLike[str], assembly: Assembly) -> Genes:
    """Read genes from a GTF, grouping transcripts by `gene_id`; see `read_genes`."""
    path, transcripts = Path(path), _Transcripts(assembly)

    def read(fields: list[bytes]) -> None:
        if not _is_part(fields):
            return
        transcript_id = _TRANSCRIPT_ID.search(fields[8])
        if not transcript_id:
            raise ValueError("it has no transcript_id")
        if transcript := transcripts.add(fields, transcript_id[1]):
            gene, name = _GENE_ID.search(fields[8]), _GENE_NAME.search(fields[8])
            transcript.gene = gene[1] if gene else transcript_id[1]
            transcript.name = name[1] if name else transcript.gene

    _read_lines(path, read)
    return transcripts.genes(path.name)


def read_gff3(path: str | os.PathLike[str], assembly: Assembly) -> Genes:
    """Read genes from a GFF3, where a gene is the parent of its transcripts; see `read_genes`."""
    path, transcripts = Path(path), _Transcripts(assembly)
    parents: dict[bytes, bytes] = {}
    names: dict[bytes, bytes] = {}

    def read(fields: list[bytes]) -> None:
        if _is_part(fields):
            if parent := _PARENT.search(fields[8]):
                for transcript_id in parent[1].split(b","):
                    transcripts.add(fields, transcript_id)
        elif fields[2] not in _CHILDLESS and (feature_id := _ID.search(fields[8])):
            if parent := _PARENT.search(fields[8]):
                parents[feature_id[1]] = parent[1].split(b",")[0]
            elif name := next((match for key in _NAMES if (match := key.search(fields[8]))), None):
                names[feature_id[1]] = name[1]

    _read_lines(path, read)
    for (_, transcript_id), transcript in transcripts.transcripts.items():
        transcript.gene = parents.get(transcript_id, transcript_id)
        transcript.name = names.get(transcript.gene, transcript.gene)
    return transcripts.genes(path.name)
