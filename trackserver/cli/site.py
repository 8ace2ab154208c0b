"""Verbs about a site and its tilesets: init, add, list, check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from trackserver.catalogue.check import Finding, check_site
from trackserver.catalogue.manifest import read_manifest
from trackserver.catalogue.setup import init_site
from trackserver.catalogue.store import OBSERVED, PREDICTED, REGISTERED, TilesetRecord
from trackserver.catalogue.tilesets import check_tileset, files_in, stem_of, uid_for
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
from trackserver.errors import InvalidRequest, TrackserverError
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
@click.option("--manifest", type=_file, help="A TOML list of tilesets, such as tilesets/*.toml.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where a manifest's files lie.")
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

    Files of this machine, folders of them, or addresses (http, https, s3) of files that are read by ranges.
    """
    if bool(paths) == bool(manifest):
        raise click.UsageError("Give files, folders or addresses, or --manifest.")
    found = [path for given in paths for path in files_in(given)]
    if len(found) > 1 and (name or uid):
        raise click.UsageError("--name and --uid are for one file.")
    site = open_site(directory)
    records = read_manifest(manifest, folder) if manifest else [
        TilesetRecord(uid or uid_for(path), name or stem_of(path), assembly=assembly or site.default_assembly,
                      path=path, filetype=kind_of(path).filetype, **words)  # type: ignore[arg-type]
        for path in found
    ]  # fmt: skip
    good, faults = [], []
    with progress("Checking") as report:
        for number, record in enumerate(records):
            try:
                good.append(check_tileset(site, record, partial(_report_part, report, number, len(records))))
            except TrackserverError as error:
                faults.append(f"{record.uid}: {error}")
            report(number + 1, len(records))
    site.catalogue.put_tilesets(good)
    _print_tilesets(good, as_json)
    if faults:
        raise InvalidRequest(f"{len(faults)} of {len(records)} were not added.\n" + "\n".join(faults))


def _report_part(report: Callable[[float, float], None], number: int, total: int, done: int, of: int) -> None:
    """So much of one file of several."""
    report(number + done / max(of, 1), total)


@click.command("list")
@click.option("--kind", type=click.Choice([OBSERVED, PREDICTED, REGISTERED]))
@click.option("--assembly")
@site_option
@json_option
def list_(kind: str | None, assembly: str | None, directory: Path | None, as_json: bool) -> None:
    """The site's tilesets."""
    asked = {"kind": kind, "assembly": assembly}
    records = open_site(directory).catalogue.tilesets(**{key: value for key, value in asked.items() if value})
    _print_tilesets(records, as_json)


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


def _print_tilesets(records: list[TilesetRecord], as_json: bool) -> None:
    if as_json:
        print_json([asdict(record) for record in records])
        return
    columns = ["uid", "name", "kind", "assembly", "assay", "biosample", "target", "strand", " MB"]
    print_table(columns, [
        (r.uid, r.name, r.kind, r.assembly, r.assay, r.biosample, r.target, r.strand, f"{r.size / 1e6:.1f}")
        for r in records
    ])  # fmt: skip
