"""The reference of an assembly on a site: sequence, genes, regions, chains, rsIDs, each read when first needed.

Whoever needs one first, in whichever thread or process, reads or computes it; the others wait for that.
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
    """What a site has of one assembly.

    folder : the site; paths in `files` are relative to it
    cache : where what is computed of the FASTA is remembered
    other_assembly : any other assembly, by its name
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
        """A value, read by the first thread that asks for it; one that fails is tried again by the next."""
        if key not in self._values:
            with self._lock:
                lock = self._locks.setdefault(key, threading.Lock())
            with lock:
                if key not in self._values:
                    self._values[key] = read()
        return cast(Value, self._values[key])

    @property
    def assembly(self) -> Assembly:
        """Chromosomes and sizes: by the site's own file, by name, or by the FASTA."""

        def read() -> Assembly:
            if self._files.chromsizes:
                return assemblies.from_chromsizes(self.name, self._folder / self._files.chromsizes)
            if self.name in assemblies.KNOWN:
                return assemblies.known(self.name)
            if self._files.fasta:
                return assemblies.from_chromsizes(self.name, self.fasta_index)
            raise DataError(f"Assembly {self.name} needs a chromsizes file or a FASTA in {config.FILE}.")

        return self._once("assembly", read)

    @property
    def has_genome(self) -> bool:
        return self._files.fasta is not None

    @property
    def genome(self) -> Genome:
        """The assembly's sequence; raises InvalidRequest where the site has none."""
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
        """The FASTA's own .fai where it has one, else the one in the site's cache."""
        beside = Path(f"{self.fasta}.fai")
        return beside if beside.exists() else self._cache / f"{self.fasta.name}.fai"

    def build_missing_index(self, progress: Progress = no_progress) -> None:
        index = self.fasta_index
        make_once(index, lambda: build_index(self.fasta, index, progress), index.exists)

    def fasta_sha256(self, progress: Progress = no_progress) -> str:
        """Checksum of the FASTA, remembered in the cache for as long as its size and time of change stay the same."""
        (digest,) = self._once("sha256", lambda: self._remembered("sha256", lambda: [sha256(self.fasta, progress)]))
        return digest

    def known_sequence(self, progress: Progress = no_progress) -> list[Locus]:
        """Where the assembly has known sequence, in its order; remembered in the cache as the checksum is."""

        def compute() -> list[str]:
            order = {chrom: number for number, chrom in enumerate(self.assembly.chroms)}
            found = known_sequence(self.genome.path, self.fasta_index, progress)
            loci = sorted((order[locus.chrom], locus.start, locus.end) for locus in found if locus.chrom in order)
            return [f"{self.assembly.chroms[number]}\t{start}\t{end}" for number, start, end in loci]

        def read() -> list[Locus]:
            rows = [line.split("\t") for line in self._remembered("known.bed", compute)]
            return [Locus(chrom, int(start), int(end)) for chrom, start, end in rows]

        return self._once("known", read)

    def _remembered(self, ending: str, compute: Callable[[], list[str]]) -> list[str]:
        """Lines that were computed of the FASTA as it is now; from the cache, or put there if it can be written."""
        fasta = self.genome.path
        about = fasta.stat()
        stamp = f"#{about.st_size}:{about.st_mtime_ns}"
        file = self._cache / f"{fasta.name}.{ending}"

        def is_made() -> bool:
            return file.exists() and file.read_text().partition("\n")[0] == stamp

        if not is_made() and not os.access(self._cache, os.W_OK):
            return compute()
        make_once(file, lambda: write_whole(file, "\n".join([stamp, *compute()]) + "\n"), is_made)
        return file.read_text().splitlines()[1:]

    def genes(self) -> Genes | None:
        file = self._files.genes
        return self._once("genes", lambda: read_genes(self._folder / file, self.assembly)) if file else None

    def regions(self, kind: Literal["repeats", "blacklist"]) -> Regions | None:
        """The intervals of a kind that the site has for the assembly."""
        file = getattr(self._files, kind)
        return self._once(kind, lambda: Regions.read(self._folder / file, self.assembly)) if file else None

    @property
    def rsid_table(self) -> Path:
        """Where the site's table of the assembly's rsIDs is, or would be."""
        return self._folder / "rsids" / f"{self.name}.sqlite"

    @property
    def rsids(self) -> Rsids | None:
        return Rsids(self.rsid_table, self.assembly) if self.rsid_table.exists() else None

    def liftover(self, source: str) -> Liftover:
        """What takes loci of another assembly to this one."""
        chains = self._files.chains
        if source not in chains:
            raise InvalidRequest(
                f"This site has no chain file from {source} to {self.name}; set assemblies.{self.name}.chains.{source} "
                f"in {config.FILE} to one, such as UCSC's hg19ToHg38.over.chain.gz."
            )

        def read() -> Liftover:
            return Liftover.read(self._folder / chains[source], self._other_assembly(source), self.assembly)

        return self._once(("liftover", source), read)
