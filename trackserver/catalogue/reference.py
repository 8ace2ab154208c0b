"""A site's reference files for one assembly: sequence, genes, regions, chains and rsIDs.

Each is read or computed when it is first needed. Other threads and processes wait for the one that does it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Literal, TypeVar, cast

from trackserver import config
from trackserver.errors import DataError, InvalidRequest
from trackserver.genome import assembly as assemblies
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Genes, read_genes
from trackserver.genome.known_sequence import known_sequence
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.regions import Regions
from trackserver.genome.rsids import Rsids
from trackserver.genome.sequence import Genome, build_index
from trackserver.progress import Progress, no_progress
from trackserver.storage import make_once, sha256, write_whole

Value = TypeVar("Value")


class Reference:
    """A site's files for one assembly.

    folder : the site's folder, to which paths in `files` are relative
    cache : folder for values computed from the FASTA
    other_assembly : gives any other assembly by name
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        cache: Path,
        files: config.AssemblyFiles,
        other_assembly: Callable[[str], Assembly],
    ):
        self.name, self._files = name, files
        self._folder, self._cache = folder, cache
        self._other_assembly = other_assembly
        self._values: dict[Hashable, object] = {}
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def _once(self, key: Hashable, read: Callable[[], Value]) -> Value:
        """Read a value once, in the first thread that needs it. If that fails, the next thread tries again."""
        if key not in self._values:
            with self._lock:
                lock = self._locks.setdefault(key, threading.Lock())
            with lock:
                if key not in self._values:
                    self._values[key] = read()
        return cast(Value, self._values[key])

    @property
    def assembly(self) -> Assembly:
        """Chromosomes and sizes, from the site's chromsizes file, a known assembly, or the FASTA."""

        def read() -> Assembly:
            if self._files.chromsizes:
                return assemblies.from_chromsizes(self.name, self._folder / self._files.chromsizes)
            if self.name in assemblies.KNOWN_ASSEMBLIES:
                return assemblies.known_assembly(self.name)
            if self._files.fasta:
                return assemblies.from_chromsizes(self.name, self.fasta_index)
            raise DataError(
                f"Assembly {self.name} has no chromosome sizes; give its chromsizes or fasta in {config.FILE}."
            )

        return self._once("assembly", read)

    @property
    def has_genome(self) -> bool:
        return self._files.fasta is not None

    @property
    def genome(self) -> Genome:
        """The assembly's sequence; raises InvalidRequest if the site has none."""
        if not self._files.fasta:
            raise InvalidRequest(
                f"This site has no sequence of {self.name}; set assemblies.{self.name}.fasta in {config.FILE} to its "
                "FASTA."
            )
        return self._once("genome", lambda: Genome(self.fasta, self.fasta_index))

    @property
    def fasta(self) -> Path:
        return self._folder / (self._files.fasta or "")

    @property
    def fasta_index(self) -> Path:
        """The .fai beside the FASTA if there is one, else the one in the site's cache."""
        beside = Path(f"{self.fasta}.fai")
        return beside if beside.exists() else self._cache / f"{self.fasta.name}.fai"

    def build_missing_index(self, progress: Progress = no_progress) -> None:
        index = self.fasta_index
        make_once(index, lambda: build_index(self.fasta, index, progress), index.exists)

    def fasta_sha256(self, progress: Progress = no_progress) -> str:
        """Checksum of the FASTA, cached until its size or time of change differs."""
        (digest,) = self._once("sha256", lambda: self._cached_lines("sha256", lambda: [sha256(self.fasta, progress)]))
        return digest

    def known_sequence(self, progress: Progress = no_progress) -> list[Locus]:
        """Regions with known sequence, in the assembly's order; cached like the checksum."""

        def compute() -> list[str]:
            order = {chrom: number for number, chrom in enumerate(self.assembly.chroms)}
            known = known_sequence(self.genome.path, self.fasta_index, progress)
            loci = sorted((order[locus.chrom], locus.start, locus.end) for locus in known if locus.chrom in order)
            return [f"{self.assembly.chroms[number]}\t{start}\t{end}" for number, start, end in loci]

        def read() -> list[Locus]:
            rows = [line.split("\t") for line in self._cached_lines("known.bed", compute)]
            return [Locus(chrom, int(start), int(end)) for chrom, start, end in rows]

        return self._once("known", read)

    def _cached_lines(self, suffix: str, compute: Callable[[], list[str]]) -> list[str]:
        """Lines computed from the current FASTA: from the cache, or else computed, and cached if it is writable."""
        fasta = self.genome.path
        stat = fasta.stat()
        stamp = f"#{stat.st_size}:{stat.st_mtime_ns}"
        file = self._cache / f"{fasta.name}.{suffix}"

        def is_current() -> bool:
            return file.exists() and file.read_text().partition("\n")[0] == stamp

        if not is_current() and not os.access(self._cache, os.W_OK):
            return compute()
        make_once(file, lambda: write_whole(file, "\n".join([stamp, *compute()]) + "\n"), is_current)
        return file.read_text().splitlines()[1:]

    def genes(self) -> Genes | None:
        file = self._files.genes
        return self._once("genes", lambda: read_genes(self._folder / file, self.assembly)) if file else None

    def regions(self, kind: Literal["repeats", "blacklist"]) -> Regions | None:
        """The site's repeats or blacklist for the assembly, if it has them."""
        file = getattr(self._files, kind)
        return self._once(kind, lambda: Regions.read(self._folder / file, self.assembly)) if file else None

    @property
    def rsid_table(self) -> Path:
        """Path of the table of the assembly's rsIDs; it may not exist."""
        return self._folder / "rsids" / f"{self.name}.sqlite"

    @property
    def rsids(self) -> Rsids | None:
        return Rsids(self.rsid_table, self.assembly) if self.rsid_table.exists() else None

    def liftover(self, source: str) -> Liftover:
        """The liftover from another assembly to this one."""
        chains = self._files.chains
        if source not in chains:
            raise InvalidRequest(
                f"This site has no chain file from {source} to {self.name}; set assemblies.{self.name}.chains.{source} "
                f"in {config.FILE} to one, such as UCSC's hg19ToHg38.over.chain.gz."
            )

        def read() -> Liftover:
            return Liftover.read(self._folder / chains[source], self._other_assembly(source), self.assembly)

        return self._once(("liftover", source), read)
