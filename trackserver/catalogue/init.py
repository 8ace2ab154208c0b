"""Make a new site: check its files, write its settings, and compute the FASTA's index and checksum."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trackserver import config
from trackserver.catalogue.site import Site, create_site
from trackserver.errors import ChromosomesDoNotFit, DataError, TrackserverError, listing
from trackserver.genome import assembly as assemblies
from trackserver.progress import Progress, no_progress


def init_site(
    path: str | os.PathLike[str],
    assembly: str,
    *,
    fasta: str | os.PathLike[str] | None = None,
    genes: str | os.PathLike[str] | None = None,
    chromsizes: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Site:
    """Make a site with one assembly.

    Raises
    ------
    DataError
        A file is missing or in the wrong format, or the assembly's chromosomes are not known.
    ChromosomesDoNotFit
        The FASTA's chromosomes are not those of the assembly.
    """
    given = {"fasta": fasta, "genes": genes, "chromsizes": chromsizes}
    folder, files = Path(path), {name: Path(file) for name, file in given.items() if file}
    for file in files.values():
        if not file.is_file():
            raise DataError(f"There is no file {file}.")
    if not (fasta or chromsizes or assembly in assemblies.KNOWN_ASSEMBLIES):
        raise DataError(
            f"{assembly} is not a known assembly ({listing(assemblies.KNOWN_ASSEMBLIES)}); "
            "give --fasta or --chromsizes."
        )
    settings: dict[str, Any] = {
        "assembly": assembly,
        "assemblies": {assembly: {name: _setting(file, folder) for name, file in files.items()}},
    }
    site = create_site(folder, settings)
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


def _setting(file: Path, site: Path) -> str:
    """A path as the settings hold it: relative if the file is inside the site, so that the site can be moved."""
    absolute, here = file.resolve(), site.resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def check_fasta(site: Site, name: str) -> None:
    """Raise unless the FASTA has chromosomes of the assembly at the right sizes; it may have others too."""
    assembly = site.assembly(name)
    index = assemblies.from_chromsizes(name, site.reference(name).fasta_index)
    shared = [chrom for chrom in assembly.chroms if chrom in index.chromsizes]
    fasta = site.reference(name).genome.path.name
    if not shared:
        raise ChromosomesDoNotFit(
            f"{fasta} has no chromosome of {name}: it has {listing(index.chroms)}; "
            f"{name} has {listing(assembly.chroms)}."
        )
    for chrom in shared:
        if index.chromsizes[chrom] != assembly.chromsizes[chrom]:
            raise ChromosomesDoNotFit(
                f"{fasta} is not {name}: its {chrom} is {index.chromsizes[chrom]:,} bp long, "
                f"but in {name} it is {assembly.chromsizes[chrom]:,} bp."
            )
