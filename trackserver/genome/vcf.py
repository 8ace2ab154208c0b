"""VCFs and plain lists of variants, row by row: every line of the input is a row, those that cannot be read too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Self, cast

from isal import igzip
from isal.igzip_lib import IsalError

from trackserver.errors import InvalidRequest, NotFound, UnreadableFile, shortened
from trackserver.genome.assembly import Assembly
from trackserver.genome.gzip_text import opened
from trackserver.genome.variant import Reference, Variant, from_columns, looks_like_variant, parse_variants
from trackserver.genome.variant_notation import has_alleles_first, is_rsid

Named = Callable[[str], Sequence[Variant]]  # an rsID's variants
_MOST_LINE = 1 << 26  # bytes: half a million samples' genotypes fit, a file without lines is found out
_TRIED = 20  # lines of a file without a VCF's header, of which one at least should read like a variant
_INFO_AND_SAMPLES = 8  # columns are split up to here, so that a line with many samples costs no more


@dataclass(frozen=True)
class Allele:
    """One ALT of a row: the variant, or the sentence that says why there is none."""

    alt: str
    variant: Variant | None
    problem: str = ""


@dataclass(frozen=True)
class VcfRow:
    """A line of the input.

    `columns` are those of a VCF line, with FORMAT and the samples left together in the ninth, and empty for a line
    of a list. `alleles` has an entry for each ALT, and none where `problem` says why the line cannot be read.
    """

    number: int  # of the line, counted from 1
    text: str
    columns: tuple[str, ...] = ()
    id: str = ""
    alleles: tuple[Allele, ...] = ()
    problem: str = ""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What of it can be scored."""
        return tuple(allele.variant for allele in self.alleles if allele.variant)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the line, or with its ALTs."""
        each = (allele.problem for allele in self.alleles)
        return tuple(problem for problem in (self.problem, *each) if problem)


class VcfReader:
    """The rows of a file, read as they are asked for; `header` holds the lines before the first of them."""

    def __init__(
        self,
        source: Path | IO[bytes],
        assembly: Assembly,
        genome: Reference | None = None,
        named: Named | None = None,
    ):
        self.name = source.name if isinstance(source, Path) else "The list"
        self.assembly, self.genome, self.named = assembly, genome, named
        self._bytes = _numbered(source, self.name)
        lines = ((number, line.decode("utf-8", "replace").rstrip("\r\n")) for number, line in self._bytes)
        header: list[str] = []
        first = list(islice(_after_header(lines, header), _TRIED))
        self.header = tuple(header)
        self.is_vcf = any(line.startswith(("##fileformat=VCF", "#CHROM\t")) for line in header)
        try:
            self._check_kind(first)
        except UnreadableFile:
            self.close()
            raise
        self._lines = chain(first, (line for line in lines if _is_row(line[1])))

    def __iter__(self) -> Iterator[VcfRow]:
        return self

    def __next__(self) -> VcfRow:
        return self._row(*next(self._lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bytes.close()

    def _check_kind(self, first: Sequence[tuple[int, str]]) -> None:
        if self.is_vcf:
            return
        if not first:
            raise UnreadableFile(f"{self.name} holds no variant; give a VCF or one variant a line.")
        if not any(_means_variant(text) for _, text in first):
            raise UnreadableFile(
                f"{self.name} is neither a VCF nor a list of variants: it begins with '{shortened(first[0][1])}'. "
                "Give a VCF (.vcf, .vcf.gz), or one variant a line, such as chr1:47690516:C:T."
            )

    def _row(self, number: int, text: str) -> VcfRow:
        columns = _vcf_columns(text, self.is_vcf)
        try:
            return self._vcf_row(number, text, columns) if columns else self._listed_row(number, text)
        except (InvalidRequest, NotFound) as error:
            return VcfRow(number, text, columns, problem=f"Line {number}: {error}")

    def _vcf_row(self, number: int, text: str, columns: tuple[str, ...]) -> VcfRow:
        if len(columns) < 5:
            problem = f"it has {len(columns)} columns, a VCF at least five: CHROM, POS, ID, REF and ALT."
            return VcfRow(number, text, columns, problem=f"Line {number}: {problem}")
        chrom, position, name, ref, alts = columns[:5]
        if not (position.isdecimal() and len(position) < 12):
            problem = f"its POS '{shortened(position)}' is not a position counted from 1."
            return VcfRow(number, text, columns, problem=f"Line {number}: {problem}")
        self.assembly.resolve(chrom)
        alleles = tuple(self._allele(number, chrom, int(position), ref, alt) for alt in alts.split(","))
        return VcfRow(number, text, columns, "" if name == "." else name, alleles)

    def _allele(self, number: int, chrom: str, position: int, ref: str, alt: str) -> Allele:
        try:
            return Allele(alt, from_columns(chrom, position, ref, alt, self.assembly, self.genome))
        except (InvalidRequest, NotFound) as error:
            return Allele(alt, None, f"Line {number}: {error}")

    def _listed_row(self, number: int, text: str) -> VcfRow:
        written, _, note = text.strip().partition("\t")
        if is_rsid(written):
            return VcfRow(number, text, id=written, alleles=_alleles(self._named(written)))
        whole = looks_like_variant(text)  # else what follows the first tab is the list's own affair
        found = parse_variants(text if whole else written, self.assembly, self.genome)
        return VcfRow(number, text, id="" if whole else note.partition("\t")[0], alleles=_alleles(found))

    def _named(self, rsid: str) -> Sequence[Variant]:
        if self.named is None:
            raise InvalidRequest(
                f"{rsid} is an rsID, and no table of rsIDs is installed; write the variant as chr1:47690516:C:T."
            )
        return self.named(rsid)


def read_vcf(
    source: Path | IO[bytes], assembly: Assembly, genome: Reference | None = None, named: Named | None = None
) -> VcfReader:
    """The rows of a VCF, or of a list with one variant a line in any form that is understood; plain, gzip or bgzip.

    One line is held in memory at a time. `genome` is read for what is written without a base beside it, `named` is
    asked for rsIDs in lists.

    Raises
    ------
    UnreadableFile
        It is binary, neither a VCF nor a list, or, while rows are read, damaged. What is wrong with a row is told by
        the row.
    """
    return VcfReader(source, assembly, genome, named)


def _alleles(variants: Iterable[Variant]) -> tuple[Allele, ...]:
    return tuple(Allele(variant.alt, variant) for variant in variants)


def _is_row(text: str) -> bool:
    return not text.startswith("#") and bool(text.strip())


def _after_header(lines: Iterator[tuple[int, str]], header: list[str]) -> Iterator[tuple[int, str]]:
    """The rows, while the comments before the first of them are noted."""
    begun = False
    for number, text in lines:
        if _is_row(text):
            begun = True
            yield number, text
        elif not begun and text:
            header.append(text)


def _vcf_columns(text: str, in_vcf: bool) -> tuple[str, ...]:
    """The columns of a VCF line, none of a line of a list; where a VCF's tabs were lost on the way, spaces count."""
    columns = text.split("\t" if "\t" in text or not in_vcf else None, _INFO_AND_SAMPLES)
    if in_vcf or (len(columns) >= 5 and columns[1].isdecimal() and not has_alleles_first(columns)):
        return tuple(columns)
    return ()


def _means_variant(text: str) -> bool:
    written = text.strip().partition("\t")[0]
    return looks_like_variant(text) or looks_like_variant(written) or is_rsid(written)


# --- Bytes -----------------------------------------------------------------------------------------------------------


def _numbered(source: Path | IO[bytes], name: str) -> Generator[tuple[int, bytes]]:
    with _opened(source) as file:
        _check_text(file, name)
        number = 0
        while line := file.readline(_MOST_LINE):
            number += 1
            if len(line) == _MOST_LINE:
                raise UnreadableFile(f"{name}, line {number}: it does not end; is this a text file?")
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _opened(source: Path | IO[bytes]) -> AbstractContextManager[BufferedReader[Any]]:
    if isinstance(source, Path):
        return cast("AbstractContextManager[BufferedReader[Any]]", opened(source))
    return opened_stream(source)


@contextmanager
def opened_stream(stream: IO[bytes]) -> Iterator[BufferedReader[Any]]:
    """The bytes of an open file or an upload, unpacked where they are gzip; the stream stays the caller's to close."""
    buffered = BufferedReader(cast("RawIOBase", stream))  # whatever has readinto will do
    try:
        zipped = buffered.peek(2)[:2] == b"\x1f\x8b"
        yield BufferedReader(cast("RawIOBase", igzip.open(buffered))) if zipped else buffered
    except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # its stubs take it for a value
        raise UnreadableFile(f"The list is damaged or truncated: {error}. Send it anew.") from error
    finally:
        buffered.detach()


def _check_text(file: BufferedReader[Any], name: str) -> None:
    head = file.peek(1)
    if head.startswith(b"BCF"):
        raise UnreadableFile(f"{name} is a BCF; make it a VCF with: bcftools view -O z -o variants.vcf.gz {name}")
    if b"\0" in head:
        raise UnreadableFile(f"{name} is binary; give a VCF (.vcf, .vcf.gz) or a text file with one variant a line.")
