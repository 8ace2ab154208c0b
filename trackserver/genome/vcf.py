"""Read VCFs and plain lists of variants, row by row. Every line gives a row, even one that cannot be parsed."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Self, cast

from isal import igzip
from isal.igzip_lib import IsalError

from trackserver.errors import InvalidRequest, NotFound, UnreadableFile, shorten
from trackserver.genome.assembly import Assembly
from trackserver.genome.gzip_text import open_text
from trackserver.genome.variant import Reference, Variant, from_columns, looks_like_variant, parse_variants
from trackserver.genome.variant_notation import has_alleles_first, is_rsid

FindRsid = Callable[[str], Sequence[Variant]]  # returns the variants of an rsID
_MAX_LINE_BYTES = 1 << 26  # fits the genotypes of half a million samples; more means that the file has no lines
_CHECKED_LINES = 20  # of a file without a VCF header; at least one of them must look like a variant
_MAX_SPLITS = 8  # FORMAT and the samples stay unsplit, so that a line with many samples takes no longer


@dataclass(frozen=True)
class Allele:
    """One ALT of a row: its variant, or the reason why it has none."""

    alt: str
    variant: Variant | None
    problem: str = ""


@dataclass(frozen=True)
class VcfRow:
    """A line of the input.

    `columns` are the columns of a VCF line, with FORMAT and the samples together as the ninth; empty for a line of a
    list. `alleles` has an entry for each ALT; it is empty if the line cannot be read, and then `problem` says why.
    """

    number: int  # line number, counted from 1
    text: str
    columns: tuple[str, ...] = ()
    id: str = ""
    alleles: tuple[Allele, ...] = ()
    problem: str = ""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that can be scored."""
        return tuple(allele.variant for allele in self.alleles if allele.variant)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems of the line and of its ALTs."""
        of_alleles = (allele.problem for allele in self.alleles)
        return tuple(problem for problem in (self.problem, *of_alleles) if problem)


class VcfReader:
    """An iterator over the rows of a file; `header` is the lines before the first row."""

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        assembly: Assembly,
        genome: Reference | None = None,
        find_rsid: FindRsid | None = None,
    ):
        self.name = Path(source).name if isinstance(source, str | os.PathLike) else "The list"
        self.assembly, self.genome, self.find_rsid = assembly, genome, find_rsid
        self._bytes = _numbered_lines(source, self.name)
        lines = ((number, line.decode("utf-8", "replace").rstrip("\r\n")) for number, line in self._bytes)
        header: list[str] = []
        first_rows = list(islice(_skip_header(lines, header), _CHECKED_LINES))
        self.header = tuple(header)
        self.is_vcf = any(line.startswith(("##fileformat=VCF", "#CHROM\t")) for line in header)
        try:
            self._check_format(first_rows)
        except UnreadableFile:
            self.close()
            raise
        self._lines = chain(first_rows, (line for line in lines if _is_row(line[1])))

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

    def _check_format(self, first_rows: Sequence[tuple[int, str]]) -> None:
        if self.is_vcf:
            return
        if not first_rows:
            raise UnreadableFile(f"{self.name} has no variants; give a VCF, or a list with one variant per line.")
        if not any(_looks_like_row(text) for _, text in first_rows):
            raise UnreadableFile(
                f"{self.name} is neither a VCF nor a list of variants: it begins with '{shorten(first_rows[0][1])}'. "
                "Give a VCF (.vcf, .vcf.gz), or a list with one variant per line, such as chr1:47690516:C:T."
            )

    def _row(self, number: int, text: str) -> VcfRow:
        columns = _vcf_columns(text, self.is_vcf)
        try:
            return self._vcf_row(number, text, columns) if columns else self._list_row(number, text)
        except (InvalidRequest, NotFound) as error:
            return VcfRow(number, text, columns, problem=f"Line {number}: {error}")

    def _vcf_row(self, number: int, text: str, columns: tuple[str, ...]) -> VcfRow:
        if len(columns) < 5:
            problem = f"it has {len(columns)} columns, but a VCF has at least five: CHROM, POS, ID, REF and ALT."
            return VcfRow(number, text, columns, problem=f"Line {number}: {problem}")
        chrom, position, name, ref, alts = columns[:5]
        if not (position.isdecimal() and len(position) < 12):
            problem = f"its POS '{shorten(position)}' is not a position counted from 1."
            return VcfRow(number, text, columns, problem=f"Line {number}: {problem}")
        self.assembly.resolve(chrom)
        alleles = tuple(self._allele(number, chrom, int(position), ref, alt) for alt in alts.split(","))
        return VcfRow(number, text, columns, "" if name == "." else name, alleles)

    def _allele(self, number: int, chrom: str, position: int, ref: str, alt: str) -> Allele:
        try:
            return Allele(alt, from_columns(chrom, position, ref, alt, self.assembly, self.genome))
        except (InvalidRequest, NotFound) as error:
            return Allele(alt, None, f"Line {number}: {error}")

    def _list_row(self, number: int, text: str) -> VcfRow:
        first, _, rest = text.strip().partition("\t")
        if is_rsid(first):
            return VcfRow(number, text, id=first, alleles=_alleles(self._variants_of(first)))
        is_whole_line = looks_like_variant(text)  # if not, the first column is the variant and the next one its name
        variants = parse_variants(text if is_whole_line else first, self.assembly, self.genome)
        name = "" if is_whole_line else rest.partition("\t")[0]
        return VcfRow(number, text, id=name, alleles=_alleles(variants))

    def _variants_of(self, rsid: str) -> Sequence[Variant]:
        if self.find_rsid is None:
            raise InvalidRequest(
                f"{rsid} is an rsID, and no rsID table is installed; write the variant as chr1:47690516:C:T."
            )
        return self.find_rsid(rsid)


def read_vcf(
    source: str | os.PathLike[str] | IO[bytes],
    assembly: Assembly,
    genome: Reference | None = None,
    find_rsid: FindRsid | None = None,
) -> VcfReader:
    """Read a VCF, or a list with one variant per line in any supported form; plain, gzip or bgzip.

    Only one line is in memory at a time.

    Parameters
    ----------
    genome
        Supplies bases that a line leaves out; see `parse_variants`.
    find_rsid
        Looks up the rsIDs of a list.

    Raises
    ------
    UnreadableFile
        The file is binary, or neither a VCF nor a list; or, while rows are read, it turns out to be damaged. Problems
        of a single row are in the row and raise nothing.
    """
    return VcfReader(source, assembly, genome, find_rsid)


def _alleles(variants: Iterable[Variant]) -> tuple[Allele, ...]:
    return tuple(Allele(variant.alt, variant) for variant in variants)


def _is_row(text: str) -> bool:
    return not text.startswith("#") and bool(text.strip())


def _skip_header(lines: Iterator[tuple[int, str]], header: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the rows, and append the comments before the first row to `header`."""
    in_header = True
    for number, text in lines:
        if _is_row(text):
            in_header = False
            yield number, text
        elif in_header and text:
            header.append(text)


def _vcf_columns(text: str, in_vcf: bool) -> tuple[str, ...]:
    """Split a VCF line into columns, at spaces if its tabs were lost; returns no columns for a line of a list."""
    columns = text.split("\t" if "\t" in text or not in_vcf else None, _MAX_SPLITS)
    if in_vcf or (len(columns) >= 5 and columns[1].isdecimal() and not has_alleles_first(columns)):
        return tuple(columns)
    return ()


def _looks_like_row(text: str) -> bool:
    first = text.strip().partition("\t")[0]
    return looks_like_variant(text) or looks_like_variant(first) or is_rsid(first)


# --- Bytes -----------------------------------------------------------------------------------------------------------


def _numbered_lines(source: str | os.PathLike[str] | IO[bytes], name: str) -> Generator[tuple[int, bytes]]:
    with _open_source(source) as file:
        _check_text(file, name)
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if len(line) == _MAX_LINE_BYTES:
                raise UnreadableFile(f"{name}, line {number} is too long; is this a text file?")
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _open_source(source: str | os.PathLike[str] | IO[bytes]) -> AbstractContextManager[BufferedReader[Any]]:
    if isinstance(source, str | os.PathLike):
        return cast("AbstractContextManager[BufferedReader[Any]]", open_text(source))
    return unzip_stream(source)


@contextmanager
def unzip_stream(stream: IO[bytes]) -> Iterator[BufferedReader[Any]]:
    """Read the bytes of an open file or an upload, unzipped if they are gzip; the caller closes the stream."""
    buffered = BufferedReader(cast("RawIOBase", stream))  # works with anything that has readinto
    try:
        is_gzip = buffered.peek(2)[:2] == b"\x1f\x8b"
        yield BufferedReader(cast("RawIOBase", igzip.open(buffered))) if is_gzip else buffered
    except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # its stubs declare it as a value
        raise UnreadableFile(f"The list is damaged or truncated: {error}. Send it again.") from error
    finally:
        buffered.detach()


def _check_text(file: BufferedReader[Any], name: str) -> None:
    head = file.peek(1)
    if head.startswith(b"BCF"):
        raise UnreadableFile(f"{name} is a BCF; convert it to VCF with: bcftools view -O z -o variants.vcf.gz {name}")
    if b"\0" in head:
        raise UnreadableFile(f"{name} is binary; give a VCF (.vcf, .vcf.gz) or a text file with one variant per line.")
