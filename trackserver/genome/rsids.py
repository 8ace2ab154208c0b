"""Look up the variants of an rsID in a table that is made once from a dbSNP VCF.

VCF indexes are by position, so they cannot find a name. The table is a single SQLite file, used as a file format and
not as a site's database: rows are appended in the VCF's order, and then SQLite builds an index on disk. So memory does
not grow with the file, and all of dbSNP (10^9 records) fits. Building the index needs temporary disk space
(SQLITE_TMPDIR) of about a third of the table's size.
"""

from __future__ import annotations

import os
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
from trackserver.genome.vcf import unzip_stream
from trackserver.progress import Progress, no_progress
from trackserver.storage import whole_file

Record = tuple[int, int, int, str, str]  # rs number, chromosome's number, position counted from 1, REF, ALTs

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
_REPORT_LINES = 100_000  # lines between two progress reports


class Rsids:
    """A table of the rsIDs of one assembly. It stores its path, and opens the file for each query."""

    def __init__(self, path: str | os.PathLike[str], assembly: Assembly):
        """Check the table; raises UnreadableFile if it is none, DataError if it is for another assembly."""
        self.path, self.assembly = Path(path), assembly
        about: dict[str, str] = dict(self._query("SELECT key, value FROM about"))
        if about.get("format") != _FORMAT:
            raise UnreadableFile(f"{self.path.name} has another version; make it again from the VCF.")
        if about["assembly"] != assembly.name:
            raise DataError(
                f"{self.path.name} has the rsIDs of {about['assembly']}, not of {assembly.name}; "
                f"make a table from a VCF of {assembly.name}."
            )

    def find(self, rsid: str) -> tuple[Variant, ...]:
        """Return the variants of an rsID, sorted by position: one for each ALT of each of its records.

        Raises
        ------
        UnknownRsid
            The rsID is not in the table.
        BadVariant
            None of its alleles is written in bases.
        """
        if not is_rsid(rsid):
            raise UnknownRsid(rsid, self.path.name)
        records = self._query(_FIND, int(rsid.strip()[2:]))
        if not records:
            raise UnknownRsid(rsid, self.path.name)
        problem = BadVariant(f"{rsid} has no alleles written in bases in {self.path.name}.")
        variants = []
        for chrom, position, ref, alts in records:
            for alt in alts.split(","):
                try:
                    variants.append(from_columns(chrom, position, ref, alt, self.assembly))
                except BadVariant as error:
                    problem = error
        if not variants:
            raise problem
        return tuple(dict.fromkeys(variants))

    def _query(self, sql: str, *values: int) -> list[Any]:
        address = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(address, uri=True)) as table:
                return table.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            if not self.path.exists():
                raise UnreadableFile(f"The rsID table {self.path.name} is missing from {self.path.parent}.") from None
            raise UnreadableFile(f"{self.path.name} is not an rsID table: {error}.") from error


def index_rsids(
    vcf: str | os.PathLike[str], out: str | os.PathLike[str], assembly: Assembly, report: Progress = no_progress
) -> int:
    """Make an rsID table from a VCF atomically, and return the number of records in it.

    The rsIDs are read from the ID column, or else from RS in INFO. Records on chromosomes that the assembly lacks,
    such as patches, are left out.

    Raises
    ------
    UnreadableFile
        The VCF is damaged, a line cannot be read, or there are no rsIDs.
    ChromosomesDoNotFit
        The VCF has no chromosome of the assembly.
    """
    try:
        with whole_file(Path(out)) as part:
            return _write_table(part, Path(vcf), assembly, report)
    except sqlite3.Error as error:
        raise DataError(f"{out} cannot be written: {error}; is the disk full?") from error


def _write_table(path: Path, vcf: Path, assembly: Assembly, report: Progress) -> int:
    chroms = Chromosomes(assembly)
    with closing(sqlite3.connect(path)) as table:
        # Nobody reads the file before it is complete, so no rollback journal is needed.
        table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")
        table.executescript(_SCHEMA)
        table.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", _records(vcf, chroms, report))
        (count,) = table.execute("SELECT count(*) FROM records").fetchone()
        _check_records(vcf, count, chroms)
        table.executemany("INSERT INTO chromosomes VALUES (?, ?)", enumerate(assembly.chroms))
        about = {"format": _FORMAT, "assembly": assembly.name, "source": vcf.name, "records": str(count)}
        table.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        table.execute("CREATE INDEX by_rs ON records (rs)")
        table.commit()
    return int(count)


def _check_records(vcf: Path, count: int, chroms: Chromosomes) -> None:
    if chroms:
        chroms.check(vcf.name)
    if not count:
        raise UnreadableFile(f"{vcf.name} has no rsIDs, neither in the ID column nor as RS= in INFO.")


def _records(vcf: Path, chroms: Chromosomes, report: Progress) -> Iterator[Record]:
    numbers = {chrom: number for number, chrom in enumerate(chroms.assembly.chroms)}
    try:
        with vcf.open("rb") as raw, unzip_stream(raw) as lines:
            total = vcf.stat().st_size
            for number, line in enumerate(lines, 1):
                if number % _REPORT_LINES == 0:
                    report(raw.tell(), total)
                if line.startswith(b"#") or line.isspace():
                    continue
                fields = line.split(b"\t", 8)
                try:
                    chrom, size = chroms[fields[0]]
                    if size:
                        position, ref, alts = int(fields[1]), fields[3].decode(), fields[4].strip().decode()
                        for rs in _rs_numbers(fields):
                            yield rs, numbers[chrom], position, ref, alts
                except (IndexError, ValueError):
                    raise UnreadableFile(f"{vcf.name}, line {number} is not a VCF line.") from None
            report(total, total)
    except FileNotFoundError:
        raise UnreadableFile(f"{vcf.name} is missing from {vcf.parent}.") from None


def _rs_numbers(fields: list[bytes]) -> Iterator[int]:
    """Yield a record's rs numbers: from ID (one in dbSNP, several in merged files), else from RS in INFO (ClinVar)."""
    is_in_id = False
    for name in fields[2].split(b";"):
        if name[:2] in (b"rs", b"RS") and name[2:].isdigit():
            is_in_id = True
            yield int(name[2:])
    if not is_in_id and len(fields) > 7 and (match := _RS_OF_INFO.search(fields[7])):
        yield from (int(rs) for rs in re.split(rb"[|,]", match[1]) if rs)
