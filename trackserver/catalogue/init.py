"""A new site: its settings, its FASTA's index and checksum, everything checked before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackserver import config
from trackserver.catalogue.site import Site, create_site
from trackserver.errors import ChromosomesDoNotFit, DataError, TrackserverError, listing
from trackserver.genome import assembly as assemblies
from trackserver.progress import Progress, no_progress


def init_site(
    path: Path,
    assembly: str,
    *,
    fasta: Path | None = None,
    genes: Path | None = None,
    chromsizes: Path | None = None,
    progress: Progress = no_progress,
) -> Site:
    """Make a site of one assembly.

    Raises
    ------
    DataError
        A file is missing or of another format, or nothing says what the assembly's chromosomes are.
    ChromosomesDoNotFit
        The FASTA's chromosomes are not the assembly's.
    """
    files = {"fasta": fasta, "genes": genes, "chromsizes": chromsizes}
    for given in files.values():
        if given and not given.is_file():
            raise DataError(f"There is no file {given}.")
    if not (fasta or chromsizes or assembly in assemblies.KNOWN):
        raise DataError(f"{assembly} is not known by name ({listing(assemblies.KNOWN)}); give --fasta or --chromsizes.")
    settings: dict[str, Any] = {
        "assembly": assembly,
        "assemblies": {assembly: {name: _written(given, path) for name, given in files.items() if given}},
    }
    site = create_site(path, settings)
    try:
        if fasta:
            site.reference(assembly).build_missing_index(progress)
            check_fasta(site, assembly)
            site.reference(assembly).fasta_sha256(progress)
        if genes:
            site.reference(assembly).genes()
    except TrackserverError:
        (site.path / config.FILE).unlink()
        raise
    return site


def _written(given: Path, site: Path) -> str:
    """A path as the settings hold it: relative inside the site, so that a site can be moved."""
    absolute, here = given.resolve(), site.resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def check_fasta(site: Site, name: str) -> None:
    """Raise unless the FASTA holds the assembly's chromosomes, at their sizes; it may hold more."""
    assembly = site.assembly(name)
    index = assemblies.from_chromsizes(name, site.reference(name).fasta_index)
    shared = [chrom for chrom in assembly.chroms if chrom in index.chromsizes]
    fasta = site.reference(name).genome.path.name
    if not shared:
        raise ChromosomesDoNotFit(
            f"{fasta} has no chromosome of {name}: the file has {listing(index.chroms)}; "
            f"{name} has {listing(assembly.chroms)}."
        )
    for chrom in shared:
        if index.chromsizes[chrom] != assembly.chromsizes[chrom]:
            raise ChromosomesDoNotFit(
                f"{fasta} is not {name}: its {chrom} is {index.chromsizes[chrom]:,} bp long, "
                f"in {name} it is {assembly.chromsizes[chrom]:,}."
            )
