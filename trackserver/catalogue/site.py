"""A site: the directory with all files of one server."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from trackserver import config
from trackserver.catalogue.reference import Reference
from trackserver.catalogue.store import Catalogue
from trackserver.errors import InvalidRequest, SiteMissing, SiteReadOnly, TrackserverError, UnknownAssembly
from trackserver.genome import assembly as assemblies
from trackserver.genome.assembly import Assembly
from trackserver.models.card import ModelCard
from trackserver.storage import write_whole


class Site:
    """A site's paths, settings, catalogue and references. Opening one reads only its settings."""

    def __init__(self, path: str | os.PathLike[str], **flags: Any):
        self.path = Path(path).resolve()
        file = self.path / config.FILE
        if not file.is_file():
            raise SiteMissing(
                f"{path} is not a site: it has no {config.FILE}. Make one with `trackserver init DIR --assembly hg38`, "
                "or point --site at one."
            )
        self.settings = config.load(file, **flags)
        self.since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        self.flags = flags  # settings given beside the file, such as on the command line
        self._references: dict[str, Reference] = {}

    def reopen(self) -> Site:
        """The same site with its settings read again."""
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
        """A path from the settings or the catalogue, made absolute."""
        return self.path / path

    def relative(self, path: Path) -> str:
        """A path as the catalogue stores it: relative if the file is inside the site, so that the site can be moved."""
        absolute = path.resolve()
        return str(absolute.relative_to(self.path) if absolute.is_relative_to(self.path) else absolute)

    def is_writable(self) -> bool:
        return os.access(self.path, os.W_OK)

    def check_writable(self) -> None:
        if not self.is_writable():
            raise SiteReadOnly(f"The site {self.path} is read-only; give yourself write permission, or copy the site.")

    def reference(self, name: str) -> Reference:
        """The sequence, genes and other files of an assembly of the site.

        Raises
        ------
        UnknownAssembly
            The site has no such assembly.
        """
        if name not in self.settings.assemblies:
            raise UnknownAssembly(name, self.settings.assemblies)
        if name not in self._references:
            reference = Reference(name, self.path, self.cache, self.settings.assemblies[name], self._any_assembly)
            self._references.setdefault(name, reference)
        return self._references[name]

    def assembly(self, name: str) -> Assembly:
        """Chromosomes and sizes of an assembly of the site."""
        return self.reference(name).assembly

    def _any_assembly(self, name: str) -> Assembly:
        return self.assembly(name) if name in self.settings.assemblies else assemblies.known_assembly(name)


def find_site(directory: str | os.PathLike[str] | None = None) -> Path:
    """Find a site: the given directory, else the nearest one upwards from here, else TRACKSERVER_SITE."""
    if directory:
        return Path(directory)
    for here in (Path.cwd(), *Path.cwd().parents):
        if (here / config.FILE).is_file():
            return here
    if named := os.environ.get(config.SITE_VARIABLE):
        return Path(named)
    raise SiteMissing(
        f"No site here: there is no {config.FILE} in this directory or above it, and TRACKSERVER_SITE is not set. "
        "Make a site with `trackserver init DIR --assembly hg38`, or name one with --site DIR."
    )


def create_site(path: str | os.PathLike[str], settings: dict[str, Any]) -> Site:
    """Make a site's directories and its trackserver.toml; an existing site is never overwritten."""
    import tomli_w

    path = Path(path)
    if (path / config.FILE).exists():
        raise InvalidRequest(f"{path} is already a site; remove {path / config.FILE} to start again.")
    try:
        for name in ("tilesets", "models", "effects", "cache"):
            (path / name).mkdir(parents=True, exist_ok=True)
        write_whole(path / config.FILE, tomli_w.dumps(settings))
    except OSError as error:
        raise SiteReadOnly(f"Cannot make a site in {path}: {error.strerror}.") from error
    try:
        return Site(path)
    except TrackserverError:
        (path / config.FILE).unlink()
        raise


def assembly_for(site: Site, card: ModelCard, requested: str | None = None) -> str:
    """The assembly to predict on: the requested one, else the model's first one that the site has."""
    usable = [name for name in card.assemblies if name in site.assembly_names]
    if not usable:
        on_site = ", ".join(site.assembly_names)
        raise InvalidRequest(f"Model {card.id} is for {' and '.join(card.assemblies)}; this site has {on_site}.")
    if requested and requested not in usable:
        raise InvalidRequest(f"Model {card.id} cannot predict on {requested}; on this site, use {', '.join(usable)}.")
    return requested or usable[0]
