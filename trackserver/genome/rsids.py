"""What an rsID stands for: a table made once from a VCF of dbSNP's, in which one name is found in a moment.

A VCF is sorted and indexed by place, so no index of its own finds a name in it. The table is one SQLite file, as a
format and not as a site's database: rows are appended as the VCF has them, then SQLite sorts the names on disk. So
memory does not grow with the file, and all of dbSNP (10^9 records) fits; the sort needs room of about a third of the
table's size where SQLite keeps temporary files (SQLITE_TMPDIR).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from trackserver.errors import BadVariant, DataError, UnknownRsid, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.variant import Variant, from_columns
from trackserver.genome.variant_notation import is_rsid
from trackserver.genome.vcf import opened_stream
from trackserver.progress import Progress, no_progress
from trackserver.storage import whole_file

Record = tuple[int, int, int, str, str]  # rs, the chromosome's number, position counted from 1, REF, ALTs

_FORMAT = "rsids 1"
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE chromosomes (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE records (rs INTEGER NOT NULL, chromosome INTEGER NOT NULL, position INTEGER NOT NULL,
                      ref TEXT NOT NULL, alts TEXT NOT NULL);
"""
_FIND = """
SELECT name, position, ref, alts FROM records JOIN chromosomes ON number = chromosome
WHERE rs = ? ORDER BY chromosome, position, ref, alts
"""
_RS_OF_INFO = re.compile(rb"(?:^|;)RS=([0-9|,]+)")
_EVERY = 100_000  # lines between two reports


class Rsids:
    """A table of rsIDs of one assembly. It carries its path, and opens the file for each question."""

    def __init__(self, path: Path, assembly: Assembly):
        """Raises `UnreadableFile` unless it is such a table, `DataError` if it was made for another assembly."""
        self.path, self.assembly = path, assembly
        about: dict[str, str] = dict(self._ask("SELECT key, value FROM about"))
        if about.get("format") != _FORMAT:
            raise UnreadableFile(f"{path.name} is no table of rsIDs of this version; make it anew from the VCF.")
        if about["assembly"] != assembly.name:
            raise DataError(f"{path.name} is a table of {about['assembly']}, not of {assembly.name}; make one of it.")

    def find(self, rsid: str) -> tuple[Variant, ...]:
        """The variants of a name, in order of place: one for each ALT of each of its records.

        Raises
        ------
        UnknownRsid
            The table does not have it.
        BadVariant
            None of its alleles is spelled in bases.
        """
        if not is_rsid(rsid):
            raise UnknownRsid(rsid, self.path.name)
        records = self._ask(_FIND, int(rsid.strip()[2:]))
        if not records:
            raise UnknownRsid(rsid, self.path.name)
        problem = BadVariant(f"{rsid} has no alleles spelled in bases in {self.path.name}.")
        found = []
        for chrom, position, ref, alts in records:
            for alt in alts.split(","):
                try:
                    found.append(from_columns(chrom, position, ref, alt, self.assembly))
                except BadVariant as error:
                    problem = error
        if not found:
            raise problem
        return tuple(dict.fromkeys(found))

    def _ask(self, question: str, *values: int) -> list[Any]:
        address = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(address, uri=True)) as table:
                return table.execute(question, values).fetchall()
        except sqlite3.Error as error:
            if not self.path.exists():
                raise UnreadableFile(f"The table of rsIDs {self.path.name} is gone from {self.path.parent}.") from None
            raise UnreadableFile(f"{self.path.name} is no table of rsIDs: {error}.") from error


def index_rsids(vcf: Path, out: Path, assembly: Assembly, report: Progress = no_progress) -> int:
    """Make the table of a VCF whose ID column, or else whose INFO's RS, holds rsIDs; whole or not at all.

    Records on chromosomes that the assembly lacks, such as patches, are left out. Returns how many are in the table.

    Raises
    ------
    UnreadableFile
        The VCF is damaged, a line of it cannot be read, or it has no rsID.
    ChromosomesDoNotFit
        It has no chromosome of the assembly.
    """
    try:
        with whole_file(out) as part:
            return _write_table(part, vcf, assembly, report)
    except sqlite3.Error as error:
        raise DataError(f"{out} cannot be written: {error}; is there room on the disk?") from error


def _write_table(path: Path, vcf: Path, assembly: Assembly, report: Progress) -> int:
    chroms = Chromosomes(assembly)
    with closing(sqlite3.connect(path)) as table:
        # Nothing reads the file before it is whole, so nothing need be rolled back.
        table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")
        table.executescript(_SCHEMA)
        table.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", _records(vcf, chroms, report))
        (count,) = table.execute("SELECT count(*) FROM records").fetchone()
        _check_found(vcf, count, chroms)
        table.executemany("INSERT INTO chromosomes VALUES (?, ?)", enumerate(assembly.chroms))
        about = {"format": _FORMAT, "assembly": assembly.name, "source": vcf.name, "records": str(count)}
        table.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        table.execute("CREATE INDEX by_rs ON records (rs)")
        table.commit()
    return int(count)


def _check_found(vcf: Path, count: int, chroms: Chromosomes) -> None:
    if chroms:
        chroms.check(vcf.name)
    if not count:
        raise UnreadableFile(f"{vcf.name} has no rsID, neither in its ID column nor as RS= in INFO.")


def _records(vcf: Path, chroms: Chromosomes, report: Progress) -> Iterator[Record]:
    numbers = {chrom: number for number, chrom in enumerate(chroms.assembly.chroms)}
    try:
        with vcf.open("rb") as raw, opened_stream(raw) as lines:
            total = vcf.stat().st_size
            for number, line in enumerate(lines, 1):
                if number % _EVERY == 0:
                    report(raw.tell(), total)
                if line.startswith(b"#") or line.isspace():
                    continue
                fields = line.split(b"\t", 8)
                try:
                    chrom, size = chroms[fields[0]]
                    if size:
                        position, ref, alts = int(fields[1]), fields[3].decode(), fields[4].strip().decode()
                        for rs in _names(fields):
                            yield rs, numbers[chrom], position, ref, alts
                except (IndexError, ValueError):
                    raise UnreadableFile(f"{vcf.name}, line {number}: this is no line of a VCF.") from None
            report(total, total)
    except FileNotFoundError:
        raise UnreadableFile(f"{vcf.name} is gone from {vcf.parent}.") from None


def _names(fields: list[bytes]) -> Iterator[int]:
    """The rs numbers of a record: dbSNP has one in ID, merged files several, ClinVar its own there and RS in INFO."""
    named = False
    for name in fields[2].split(b";"):
        if name[:2] in (b"rs", b"RS") and name[2:].isdigit():
            named = True
            yield int(name[2:])
    if not named and len(fields) > 7 and (found := _RS_OF_INFO.search(fields[7])):
        yield from (int(rs) for rs in re.split(rb"[|,]", found[1]) if rs)
