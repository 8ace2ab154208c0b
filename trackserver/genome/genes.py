"""Gene models from UCSC's refGene table, GTF or GFF3: search by name, start sites, exons, the nearest gene."""

from __future__ import annotations

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
from trackserver.genome.gzip_text import opened
from trackserver.genome.locus import Locus


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
    def exons(self) -> tuple[Locus, ...]:
        """Its exons, by place."""
        pairs = zip(self.exon_starts, self.exon_ends, strict=True)
        return tuple(Locus(self.locus.chrom, start, end) for start, end in pairs)

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


def read_genes(path: Path, assembly: Assembly) -> Genes:
    """Genes of a refGene table, a GTF or a GFF3 (GENCODE's, Ensembl's, RefSeq's), plain or gzip, told by its content.

    One gene is its longest transcript, of equally long ones the first by name; transcripts on chromosomes that the
    assembly lacks are left out.

    Raises
    ------
    DataError
        It is none of these, or one of its lines, which is named, cannot be read or lies beyond its chromosome.
    ChromosomesDoNotFit
        It has no chromosome of the assembly.
    """
    with opened(path) as file:
        read = _reader(path.name, file)
    return read(path, assembly)


def _reader(name: str, file: IO[bytes]) -> Callable[[Path, Assembly], Genes]:
    """The reader for a file that begins like this."""
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
    raise DataError(f"{name} is no table of genes; give UCSC's refGene.txt.gz, a GTF or a GFF3 (GENCODE, Ensembl).")


def _each_line(path: Path, read: Callable[[list[bytes]], None]) -> None:
    """Hand over the columns of every line but comments; what is wrong with them is told with the line's number."""
    with opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(b"#"):
                if line.startswith(b"##FASTA"):  # a GFF3 may end with the sequence
                    return
            elif not line.isspace():
                try:
                    read(line.split(b"\t"))
                except ValueError as error:
                    raise DataError(f"{path.name}, line {number}: {error}.") from None


def _stretch(begin: bytes, end: bytes, counted_from: int, chrom: str, size: int) -> tuple[int, int]:
    """Two columns as 0-based positions on a chromosome of this size."""
    try:
        start, stop = int(begin) - counted_from, int(end)
    except ValueError:
        start, stop = -1, -1
    if not 0 <= start <= stop:
        raise ValueError(f"'{begin.decode()}' to '{end.decode()}' is no stretch of a chromosome")
    if stop > size:
        raise ValueError(
            f"a gene ends at {stop:,}, beyond {chrom}, which is {size:,} bp long here; was it made on another assembly?"
        )
    return start, stop


# --- refGene ---------------------------------------------------------------------------------------------------------

# Columns that are read, https://genome.ucsc.edu/cgi-bin/hgTables
_NAME, _CHROM, _STRAND, _TX_START, _TX_END, _CDS_START, _CDS_END, _EXON_STARTS, _EXON_ENDS, _SYMBOL = (
    1, 2, 3, 4, 5, 6, 7, 9, 10, 12,
)  # fmt: skip


def read_refgene(path: Path, assembly: Assembly) -> Genes:
    """Genes of a UCSC refGene table, one a symbol and chromosome; see `read_genes`."""
    chroms = Chromosomes(assembly)
    longest: dict[tuple[str, bytes], tuple[tuple[int, bytes], list[bytes]]] = {}

    def read(fields: list[bytes]) -> None:
        if len(fields) <= _SYMBOL:
            raise ValueError(f"this is not a UCSC refGene table: it has {len(fields)} tab-separated columns, not 16")
        chrom, size = chroms[fields[_CHROM]]
        if size:
            start, end = _stretch(fields[_TX_START], fields[_TX_END], 0, chrom, size)
            gene, rank = (chrom, fields[_SYMBOL]), (start - end, fields[_NAME])
            if gene not in longest or rank < longest[gene][0]:
                longest[gene] = rank, fields

    _each_line(path, read)
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

_EXON, _CODING = b"exon", (b"CDS", b"stop_codon")  # GTF counts the stop codon apart, GFF3 and refGene within
_CHILDLESS = (b"UTR", b"five_prime_UTR", b"three_prime_UTR", b"start_codon", b"intron")  # GFF3 has a line each
_TRANSCRIPT_ID, _GENE_ID = re.compile(rb'transcript_id "([^"]+)"'), re.compile(rb'gene_id "([^"]+)"')
_GENE_NAME = re.compile(rb'gene(?:_name)? "([^"]+)"')
_PARENT, _ID = re.compile(rb"Parent=([^;\s]+)"), re.compile(rb"(?:^|;) ?ID=([^;\s]+)")
_NAMES = tuple(re.compile(rb"(?:^|;) ?" + key + rb"=([^;\r\n]+)") for key in (b"gene_name", b"Name", b"gene"))


@dataclass(slots=True)
class _Transcript:
    """A transcript as its lines come by: `exons` and `coding` are starts and ends by turns."""

    strand: bytes
    gene: bytes
    name: bytes
    exons: array[int]
    coding: array[int]

    def span(self) -> tuple[int, int]:
        parts = self.exons or self.coding
        return min(parts), max(parts)


class _Transcripts:
    """Collects exons line by line; of a file of millions of lines some hundred bytes a transcript are kept."""

    def __init__(self, assembly: Assembly):
        self.assembly, self.chroms = assembly, Chromosomes(assembly)
        # By chromosome, for names come twice where X and Y are alike.
        self.held: dict[tuple[str, bytes], _Transcript] = {}

    def add(self, fields: list[bytes], transcript_id: bytes) -> _Transcript | None:
        """Note an exon or a piece of a coding sequence; a transcript that is new is returned."""
        chrom, size = self.chroms[fields[0]]
        if not size:
            return None
        start, end = _stretch(fields[3], fields[4], 1, chrom, size)
        found = self.held.get((chrom, transcript_id))
        transcript = found or _Transcript(fields[6], b"", b"", array("I"), array("I"))
        (transcript.exons if fields[2] == _EXON else transcript.coding).extend((start, end))
        if found:
            return None
        self.held[chrom, transcript_id] = transcript
        return transcript

    def genes(self, file: str) -> Genes:
        """Each gene by its longest transcript."""
        self.chroms.check(file)
        longest: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        for (chrom, transcript_id), transcript in self.held.items():
            start, end = transcript.span()
            rank = start - end, transcript_id
            longest[chrom, transcript.gene] = min(rank, longest.get((chrom, transcript.gene), rank))
        kept = [(chrom, transcript_id) for (chrom, _), (_, transcript_id) in longest.items()]
        return Genes(self.assembly, [_gff_gene(*key, self.held[key]) for key in kept])


def _gff_gene(chrom: str, transcript_id: bytes, transcript: _Transcript) -> Gene:
    start, end = transcript.span()
    parts = transcript.exons or transcript.coding
    exons = sorted(zip(parts[::2], parts[1::2], strict=True))
    return Gene(
        name=_plain(transcript.name),
        transcript=_plain(transcript_id),
        locus=Locus(chrom, start, end),
        strand="-" if transcript.strand == b"-" else "+",
        cds_start=min(transcript.coding, default=end),
        cds_end=max(transcript.coding, default=end),
        exon_starts=tuple(start for start, _ in exons),
        exon_ends=tuple(end for _, end in exons),
    )


def _plain(name: bytes) -> str:
    """`gene:ENSG00000162367` and `rna-NM_003189.6` without what only tells the kind; %2C as a comma."""
    return re.sub(r"^(gene|transcript|rna)[:-]", "", unquote(name.decode("utf-8", "replace")))


def _is_part(fields: list[bytes]) -> bool:
    """Whether a line of a GTF or GFF3 is an exon or a piece of a coding sequence."""
    if len(fields) != 9:
        raise ValueError(f"it has {len(fields)} tab-separated columns, not nine")
    return fields[2] == _EXON or fields[2] in _CODING


def read_gtf(path: Path, assembly: Assembly) -> Genes:
    """Genes of a GTF, by `gene_id`; see `read_genes`."""
    transcripts = _Transcripts(assembly)

    def read(fields: list[bytes]) -> None:
        if not _is_part(fields):
            return
        found = _TRANSCRIPT_ID.search(fields[8])
        if not found:
            raise ValueError("it has no transcript_id")
        if new := transcripts.add(fields, found[1]):
            gene, name = _GENE_ID.search(fields[8]), _GENE_NAME.search(fields[8])
            new.gene = gene[1] if gene else found[1]
            new.name = name[1] if name else new.gene

    _each_line(path, read)
    return transcripts.genes(path.name)


def read_gff3(path: Path, assembly: Assembly) -> Genes:
    """Genes of a GFF3, each the parent of its transcripts; see `read_genes`."""
    transcripts = _Transcripts(assembly)
    parents: dict[bytes, bytes] = {}
    names: dict[bytes, bytes] = {}

    def read(fields: list[bytes]) -> None:
        if _is_part(fields):
            if parent := _PARENT.search(fields[8]):
                for transcript_id in parent[1].split(b","):
                    transcripts.add(fields, transcript_id)
        elif fields[2] not in _CHILDLESS and (found := _ID.search(fields[8])):
            if parent := _PARENT.search(fields[8]):
                parents[found[1]] = parent[1].split(b",")[0]
            elif name := next((match for key in _NAMES if (match := key.search(fields[8]))), None):
                names[found[1]] = name[1]

    _each_line(path, read)
    for (_, transcript_id), transcript in transcripts.held.items():
        transcript.gene = parents.get(transcript_id, transcript_id)
        transcript.name = names.get(transcript.gene, transcript.gene)
    return transcripts.genes(path.name)
