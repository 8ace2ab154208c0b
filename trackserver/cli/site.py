"""Verbs for a site and its files: init, add, check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from trackserver.catalogue.add import AddResult, add_all, add_each
from trackserver.catalogue.check import Finding, check_site
from trackserver.catalogue.init import init_site
from trackserver.catalogue.manifest import SUFFIXES, ListEntry, read_list
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import files_in
from trackserver.catalogue.uids import stem_of, uid_for
from trackserver.cli.catalogue import print_tilesets
from trackserver.cli.common import (
    json_option,
    open_site,
    print_json,
    print_table,
    show_count,
    show_progress,
    site_option,
    stderr,
)
from trackserver.errors import InvalidRequest
from trackserver.tiles.kinds import kind_of

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--assembly", required=True, help="hg38, hg19, mm10, mm39, sacCer3, or your own name.")
@click.option("--fasta", type=_file, help="FASTA, plain or bgzip; needed for predictions.")
@click.option("--genes", type=_file, help="Gene models: UCSC's refGene.txt.gz, GTF or GFF3.")
@click.option("--chromsizes", type=_file, help="Lines of name<TAB>size, for an assembly of your own without a FASTA.")
def init(directory: Path, assembly: str, fasta: Path | None, genes: Path | None, chromsizes: Path | None) -> None:
    """Make a new site in DIRECTORY.

    Example: trackserver init mysite --assembly hg38 --fasta hg38.fa.gz --genes refGene.txt.gz
    """
    with show_progress("Reading the FASTA") as report:
        site = init_site(directory, assembly, fasta=fasta, genes=genes, chromsizes=chromsizes, progress=report)
    made = site.assembly(assembly)
    stderr.print(f"{site.path} is ready: {assembly}, {len(made.chroms)} chromosomes, {made.length:,} bp.")
    stderr.print(f"Next: trackserver add --site {directory} --assay DNASE --biosample K562 my.bigWig")


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILE_FOLDER_OR_URL]...")
@click.option("--manifest", type=_file, help="A list of tilesets: TOML, such as tilesets/*.toml, or a table.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of the manifest's files.")
@click.option("--name", help="The track's label. Default: the file's name.")
@click.option("--uid", help="Identity in links: letters, digits, _ and -. Default: made from the file's name.")
@click.option("--assembly", help="Default: the site's own.")
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
    **fields: str,
) -> None:
    """Check files and add them to the catalogue. A file that fails the check is reported, and the others are added.

    Give files, folders, or addresses (http, https, s3), which are read by ranges. A manifest, or a table (.tsv with a
    header: file, assay, biosample, target, strand …), is added whole or not at all.
    """
    manifests = [Path(path) for path in paths if path.lower().endswith(SUFFIXES)] or ([manifest] if manifest else [])
    files = [file for path in paths if not path.lower().endswith(SUFFIXES) for file in files_in(path)]
    if bool(manifests) == bool(files) or (manifest and paths):
        raise click.UsageError("Give either files, folders or addresses, or a manifest or a table.")
    if len(files) > 1 and (name or uid):
        raise click.UsageError("--name and --uid work only for a single file.")
    if manifests and (name or uid or any(fields[option] for option in ("assay", "biosample", "target", "accession"))):
        raise click.UsageError("A manifest or a table describes its files itself; write these values there.")
    site = open_site(directory)
    assembly = assembly or site.default_assembly
    with show_progress("Checking") as report:
        if manifests:
            entries = [entry for path in manifests for entry in read_list(path, folder, assembly)]
            added = AddResult(add_all(site, entries, report), [])
        else:
            added = add_each(site, [_entry(file, name, uid, assembly, fields) for file in files], report)
    print_tilesets(added.records, as_json)
    if added.faults:
        raise InvalidRequest(f"{len(added.faults)} of {len(files)} were not added.\n" + "\n".join(added.faults))


def _entry(path: str, name: str | None, uid: str | None, assembly: str, fields: dict[str, str]) -> ListEntry:
    filetype = kind_of(path).filetype
    record = TilesetRecord(
        uid or uid_for(path), name or stem_of(path), assembly=assembly, path=path, filetype=filetype,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    return ListEntry(path, record)


@click.command()
@site_option
@json_option
def check(directory: Path | None, as_json: bool) -> None:
    """Check that every file, checksum, chromosome and weight matches the catalogue."""
    site = open_site(directory)
    with show_count("Checking") as report:
        findings = check_site(site, report)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(["what", "name", "state"], [(f.what, f.name, f.fault or "ok") for f in findings])
    _fail_on(findings)


def _fail_on(findings: Iterable[Finding]) -> None:
    if faulty := [finding for finding in findings if finding.fault]:
        raise InvalidRequest(f"{len(faulty)} of the checks failed.")
