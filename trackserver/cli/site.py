"""Verbs about a site and the files in it: init, add, check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from trackserver.catalogue.add import Added, add_all, add_each
from trackserver.catalogue.check import Finding, check_site
from trackserver.catalogue.init import init_site
from trackserver.catalogue.manifest import SUFFIXES, Listed, read_list
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import files_in
from trackserver.catalogue.uids import stem_of, uid_for
from trackserver.cli.catalogue import print_tilesets
from trackserver.cli.common import (
    counting,
    json_option,
    open_site,
    print_json,
    print_table,
    progress,
    site_option,
    stderr,
)
from trackserver.errors import InvalidRequest
from trackserver.tiles.kinds import kind_of

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--assembly", required=True, help="hg38, hg19, mm10, mm39, sacCer3, or any name of yours.")
@click.option("--fasta", type=_file, help="FASTA, plain or bgzip; predictions need it.")
@click.option("--genes", type=_file, help="Gene models: UCSC's refGene.txt.gz, GTF or GFF3.")
@click.option("--chromsizes", type=_file, help="'name<TAB>size' lines, for assemblies not known by name.")
def init(directory: Path, assembly: str, fasta: Path | None, genes: Path | None, chromsizes: Path | None) -> None:
    """Make a new site in DIRECTORY.

    Example: trackserver init mysite --assembly hg38 --fasta hg38.fa.gz --genes refGene.txt.gz
    """
    with progress("Reading the FASTA") as report:
        site = init_site(directory, assembly, fasta=fasta, genes=genes, chromsizes=chromsizes, progress=report)
    lies_on = site.assembly(assembly)
    stderr.print(f"{site.path} is ready: {assembly}, {len(lies_on.chroms)} chromosomes, {lies_on.length:,} bp.")
    stderr.print(f"Next: trackserver add --site {directory} --assay DNASE --biosample K562 my.bigWig")


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILE_FOLDER_OR_URL]...")
@click.option("--manifest", type=_file, help="A list of tilesets: TOML, such as tilesets/*.toml, or a table.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where a list's files lie.")
@click.option("--name", help="What people read; by default the file's name.")
@click.option("--uid", help="Identity in links: letters, digits, _ and -; by default made of the file's name.")
@click.option("--assembly", help="By default the site's own.")
@click.option("--kind", type=click.Choice([OBSERVED, PREDICTED]), default=OBSERVED, show_default=True)
@click.option("--assay", default="", help="DNASE, CAGE, TF ChIP-seq …")
@click.option("--biosample", default="", help="K562, liver …")
@click.option("--target", default="", help="CTCF, H3K27ac …")
@click.option("--strand", type=click.Choice(["+", "-", "."]), default=".")
@click.option("--accession", default="", help="ENCFF…")
@site_option
@json_option
def add(
    paths: tuple[str, ...],
    manifest: Path | None,
    folder: Path | None,
    name: str | None,
    uid: str | None,
    assembly: str | None,
    directory: Path | None,
    as_json: bool,
    **words: str,
) -> None:
    """Check files and register them; a file that does not fit is not registered, and the others are.

    Files of this machine, folders of them, or addresses (http, https, s3) of files that are read by ranges. Of a
    manifest, or a table (.tsv with a header: file, assay, biosample, target, strand …), all are registered or none.
    """
    lists = [Path(path) for path in paths if path.lower().endswith(SUFFIXES)] or ([manifest] if manifest else [])
    found = [path for given in paths if not given.lower().endswith(SUFFIXES) for path in files_in(given)]
    if bool(lists) == bool(found) or (manifest and paths):
        raise click.UsageError("Give files, folders or addresses, or else --manifest or a table of them.")
    if len(found) > 1 and (name or uid):
        raise click.UsageError("--name and --uid are for one file.")
    if lists and (name or uid or any(words[option] for option in ("assay", "biosample", "target", "accession"))):
        raise click.UsageError("A manifest or a table says itself what its files are; write it there.")
    site = open_site(directory)
    assembly = assembly or site.default_assembly
    with progress("Checking") as report:
        if lists:
            listed = [tileset for path in lists for tileset in read_list(path, folder, assembly)]
            added = Added(add_all(site, listed, report), [])
        else:
            added = add_each(site, [_listed(path, name, uid, assembly, words) for path in found], report)
    print_tilesets(added.records, as_json)
    if added.faults:
        raise InvalidRequest(f"{len(added.faults)} of {len(found)} were not added.\n" + "\n".join(added.faults))


def _listed(path: str, name: str | None, uid: str | None, assembly: str, words: dict[str, str]) -> Listed:
    filetype = kind_of(path).filetype
    record = TilesetRecord(
        uid or uid_for(path), name or stem_of(path), assembly=assembly, path=path, filetype=filetype,
        **words,  # type: ignore[arg-type]
    )  # fmt: skip
    return Listed(path, record)


@click.command()
@site_option
@json_option
def check(directory: Path | None, as_json: bool) -> None:
    """Whether every file, checksum, chromosome and weight is as the catalogue says."""
    site = open_site(directory)
    with counting("Checking") as report:
        findings = check_site(site, report)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(["what", "name", "state"], [(f.what, f.name, f.fault or "ok") for f in findings])
    _fail_on(findings)


def _fail_on(findings: Iterable[Finding]) -> None:
    if faulty := [finding for finding in findings if finding.fault]:
        raise InvalidRequest(f"{len(faulty)} of the site's parts are not as they should be.")
