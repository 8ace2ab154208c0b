"""A site: the directory that holds all of one server."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from trackserver import config
from trackserver.catalogue.store import Catalogue
from trackserver.errors import DataError, InvalidRequest, SiteMissing, SiteReadOnly, TrackserverError, UnknownAssembly
from trackserver.genome import assembly as assemblies
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Genes, read_genes
from trackserver.genome.known import known
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.regions import Regions
from trackserver.genome.rsids import Rsids
from trackserver.genome.sequence import Genome, Progress, build_index, sha256


class Site:
    """Paths, settings and what they lead to. Opening one reads its settings and nothing else."""

    def __init__(self, path: Path, **flags: Any):
        self.path = path.resolve()
        file = self.path / config.FILE
        if not file.is_file():
            raise SiteMissing(
                f"{path} is not a site: it has no {config.FILE}. Make one with `trackserver init DIR --assembly hg38`, "
                "or point --site at one."
            )
        self.settings = config.load(file, **flags)
        self.since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        self.flags = flags  # what was said besides the settings file
        self.assembly = cache(self._assembly)
        self.genome = cache(self._genome)
        self.genes = cache(self._genes)
        self.fasta_sha256 = cache(self._fasta_sha256)
        self.regions = cache(self._regions)
        self.known = cache(self._known)
        self.liftover = cache(self._liftover)

    def reopened(self) -> Site:
        """The same site with its settings read anew."""
        return Site(self.path, **self.flags)

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def tilesets(self) -> Path:
        return self.path / "tilesets"

    @property
    def effects(self) -> Path:
        return self.path / "effects"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.settings.database or f"sqlite:///{self.path / 'catalogue.sqlite'}")

    @property
    def assembly_names(self) -> list[str]:
        return list(self.settings.assemblies)

    @property
    def default_assembly(self) -> str:
        return self.settings.assembly or next(iter(self.settings.assemblies), "")

    def inside(self, path: str | Path) -> Path:
        """A path of the settings or the catalogue: relative ones start at the site."""
        return self.path / path

    def relative(self, path: Path) -> str:
        """How the catalogue writes a path: relative where the file lies inside the site, so a site can be moved."""
        absolute = path.resolve()
        return str(absolute.relative_to(self.path) if absolute.is_relative_to(self.path) else absolute)

    def is_writable(self) -> bool:
        return os.access(self.path, os.W_OK)

    def check_writable(self) -> None:
        if not self.is_writable():
            raise SiteReadOnly(f"The site {self.path} cannot be written; give yourself write permission, or copy it.")

    def _files(self, name: str) -> config.AssemblyFiles:
        try:
            return self.settings.assemblies[name]
        except KeyError:
            raise UnknownAssembly(name, self.settings.assemblies) from None

    def _assembly(self, name: str) -> Assembly:
        files = self._files(name)
        if files.chromsizes:
            return assemblies.from_chromsizes(name, self.inside(files.chromsizes))
        if name in assemblies.KNOWN:
            return assemblies.known(name)
        if files.fasta:
            return assemblies.from_chromsizes(name, self.fasta_index(name))
        raise DataError(f"Assembly {name} needs a chromsizes file or a FASTA in {config.FILE}.")

    def has_genome(self, name: str) -> bool:
        return self._files(name).fasta is not None

    def _genome(self, name: str) -> Genome:
        files = self._files(name)
        if not files.fasta:
            raise InvalidRequest(
                f"This site has no sequence of {name}; set assemblies.{name}.fasta in {config.FILE} to its FASTA."
            )
        return Genome(self.inside(files.fasta), self.fasta_index(name))

    def fasta_index(self, name: str) -> Path:
        """The FASTA's own .fai where it has one, else the one kept in the site's cache."""
        fasta = self.inside(self._files(name).fasta or "")
        beside = Path(f"{fasta}.fai")
        return beside if beside.exists() else self.cache / f"{fasta.name}.fai"

    def build_missing_index(self, name: str, progress: Progress | None = None) -> None:
        index = self.fasta_index(name)
        if not index.exists():
            index.parent.mkdir(exist_ok=True)
            build_index(self.inside(self._files(name).fasta or ""), index, progress)

    def _fasta_sha256(self, name: str, progress: Progress | None = None) -> str:
        """Checksum of the assembly's FASTA, remembered in the cache for as long as size and time stay the same."""
        fasta = self.genome(name).path
        stat = fasta.stat()
        stamp = f"{stat.st_size}:{stat.st_mtime_ns}"
        remembered = self.cache / f"{fasta.name}.sha256"
        if remembered.exists() and remembered.read_text().startswith(f"{stamp} "):
            return remembered.read_text().split()[1]
        digest = sha256(fasta, progress)
        if os.access(self.cache, os.W_OK):
            partial = remembered.with_suffix(".partial")
            partial.write_text(f"{stamp} {digest}\n")
            os.replace(partial, remembered)
        return digest

    def _known(self, name: str, progress: Progress = lambda done, total: None) -> list[Locus]:
        """Where the assembly has known sequence, in its order; remembered in the cache as the checksum is."""
        fasta = self.genome(name).path
        stat = fasta.stat()
        stamp = f"#{stat.st_size}:{stat.st_mtime_ns}"
        remembered = self.cache / f"{fasta.name}.known.bed"
        if remembered.exists() and (lines := remembered.read_text().splitlines())[:1] == [stamp]:
            rows = [line.split("\t") for line in lines[1:]]
            return [Locus(chrom, int(start), int(end)) for chrom, start, end in rows]
        order = {chrom: number for number, chrom in enumerate(self.assembly(name).chroms)}
        found = [locus for locus in known(fasta, self.fasta_index(name), progress) if locus.chrom in order]
        found.sort(key=lambda locus: (order[locus.chrom], locus.start))
        if os.access(self.cache, os.W_OK):
            partial = remembered.with_suffix(".partial")
            partial.write_text("\n".join([stamp, *(f"{at.chrom}\t{at.start}\t{at.end}" for at in found)]) + "\n")
            os.replace(partial, remembered)
        return found

    def _genes(self, name: str) -> Genes | None:
        files = self._files(name)
        return read_genes(self.inside(files.genes), self.assembly(name)) if files.genes else None

    def rsid_table(self, name: str) -> Path:
        """Where the site's table of an assembly's rsIDs is, or would be."""
        return self.path / "rsids" / f"{name}.sqlite"

    def rsids(self, name: str) -> Rsids | None:
        table = self.rsid_table(name)
        return Rsids(table, self.assembly(name)) if table.exists() else None

    def _regions(self, name: str, kind: Literal["repeats", "blacklist"]) -> Regions | None:
        """The intervals of a kind that the site has for an assembly."""
        file = getattr(self._files(name), kind)
        return Regions.read(self.inside(file), self.assembly(name)) if file else None

    def _liftover(self, source: str, target: str) -> Liftover:
        """What takes loci of one assembly to another."""
        chains = self._files(target).chains
        if source not in chains:
            raise InvalidRequest(
                f"This site has no chain file from {source} to {target}; set assemblies.{target}.chains.{source} in "
                f"{config.FILE} to one, such as UCSC's hg19ToHg38.over.chain.gz."
            )
        lies_on = self.assembly(source) if source in self.settings.assemblies else assemblies.known(source)
        return Liftover.read(self.inside(chains[source]), lies_on, self.assembly(target))


def find_site(directory: Path | None = None) -> Path:
    """The site meant: the one named, else the nearest upwards from here, else TRACKSERVER_SITE."""
    if directory:
        return directory
    for here in (Path.cwd(), *Path.cwd().parents):
        if (here / config.FILE).is_file():
            return here
    if named := os.environ.get(config.SITE_VARIABLE):
        return Path(named)
    raise SiteMissing(
        f"No site here: there is no {config.FILE} in this directory or above it, and TRACKSERVER_SITE is not set. "
        "Make a site with `trackserver init DIR --assembly hg38`, or name one with --site DIR."
    )


def create_site(path: Path, settings: dict[str, Any]) -> Site:
    """Make a site's directories and its trackserver.toml; an existing site is never overwritten."""
    import tomli_w

    if (path / config.FILE).exists():
        raise InvalidRequest(f"{path} is a site already; remove {path / config.FILE} to begin again.")
    try:
        for name in ("tilesets", "models", "effects", "cache"):
            (path / name).mkdir(parents=True, exist_ok=True)
        partial = path / f"{config.FILE}.partial"
        partial.write_text(tomli_w.dumps(settings))
        os.replace(partial, path / config.FILE)
    except OSError as error:
        raise SiteReadOnly(f"A site cannot be made in {path}: {error.strerror}.") from error
    try:
        return Site(path)
    except TrackserverError:
        (path / config.FILE).unlink()
        raise
