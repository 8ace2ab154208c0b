"""Verbs for the ENCODE portal: search, add, cite."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.viewconf import tilesets_of
from trackserver.cli.common import json_option, open_site, print_json, print_table, show_transfer, site_option, stderr
from trackserver.encode.add import AddOptions, SearchTerms, add_files, open_portal, search_files
from trackserver.encode.citation import cite, cite_track, encode_tracks
from trackserver.errors import InvalidRequest


@click.group()
def encode() -> None:
    """Search the ENCODE portal, add its tracks to the site, and cite them."""


@encode.command()
@click.argument("text", default="")
@click.option("--assay", default="", help="DNase-seq, TF ChIP-seq …; or as in the catalogue: DNASE, CHIP …")
@click.option("--biosample", default="", help="K562, liver …")
@click.option("--target", default="", help="CTCF, H3K27ac …")
@click.option("--assembly", help="Default: the site's own.")
@click.option("--output-type", default="", help="fold change over control, signal p-value …")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True, help="How many files to list.")
@site_option
@json_option
def search(text: str, assembly: str | None, limit: int, directory: Path | None, as_json: bool, **names: str) -> None:
    """List bigWigs of the portal. Files of an experiment come together, the preferred one first.

    Example: trackserver encode search --assay 'TF ChIP-seq' --target GATA1 --biosample K562

    Write names exactly as the portal does. TEXT matches anywhere in a record.
    """
    site = open_site(directory)
    terms = SearchTerms(text, assembly=assembly or site.default_assembly, **names)
    total, files = search_files(open_portal(site), terms, limit)
    if as_json:
        print_json([asdict(file) | {"experiment": file.experiment, "strand": file.strand} for file in files])
        return
    columns = ["accession", "experiment", "assay", "biosample", "target", "output type", "status", "reps", " MB", "lab"]
    print_table(columns, [
        (f.accession, f.experiment, f.assay, f.biosample, f.target, f.output_type, f.status,
         ", ".join(map(str, f.replicates)), f"{f.size / 1e6:.1f}", f.lab)
        for f in files
    ])  # fmt: skip
    if not files:
        stderr.print(
            f"No files on {terms.assembly}. Write names exactly (K562, not k562); text without an option matches "
            "anywhere."
        )
    elif total > len(files):
        stderr.print(f"{len(files):,} of {total:,} files; list more with --limit, or narrow the search.")


@encode.command()
@click.argument("accessions", nargs=-1, required=True, metavar="ACCESSION...")
@click.option("--download", is_flag=True, help="Copy the file into the site, instead of reading it from ENCODE.")
@click.option("--output-type", default="", help="Take this signal of an experiment, instead of the preferred one.")
@click.option("--assembly", default="", help="Default: the site's own.")
@click.option("--uid", default="", help="Identity in links, for a single file. Default: its accession.")
@site_option
@json_option
def add(accessions: tuple[str, ...], directory: Path | None, as_json: bool, **options: Any) -> None:
    """Add files to the site. For an experiment (ENCSR…), add its preferred file, or both strands.

    Example: trackserver encode add ENCSR000EOT ENCFF136DBS

    An interrupted download resumes where it stopped. Files that cannot be added are reported, and the others are added.
    """
    site = open_site(directory)
    with show_transfer("Fetching") as report:
        added = add_files(site, open_portal(site), accessions, AddOptions(**options), report)
    if as_json:
        print_json([asdict(record) for record in added.records])
    else:
        print_table(["uid", "name", "kind", "assembly", "output type", " MB"], [
            (r.uid, r.name, r.kind, r.assembly, r.provenance["encode"]["output_type"], f"{r.size / 1e6:.1f}")
            for r in added.records
        ])  # fmt: skip
    if added.faults:
        raise InvalidRequest(f"{len(added.faults)} could not be added.\n" + "\n".join(added.faults))


@encode.command("cite")
@click.argument("uids", nargs=-1, metavar="[UID]...")
@click.option("--view", "view_id", help="The tracks of a shared view, by the id in its link.")
@site_option
@json_option
def cite_(uids: tuple[str, ...], view_id: str | None, directory: Path | None, as_json: bool) -> None:
    """Print the text to publish with ENCODE's tracks: those named, those of a view, or all of the site."""
    tracks = encode_tracks(_selected_records(open_site(directory), uids, view_id))
    if as_json:
        print_json([
            {"uid": track.uid, "accession": track.accession, "text": cite_track(track)} | track.provenance["encode"]
            for track in tracks
        ])  # fmt: skip
    elif tracks:
        click.echo(cite(tracks))
    else:
        stderr.print("None of these tracks was added from ENCODE.")


def _selected_records(site: Site, uids: tuple[str, ...], view_id: str | None) -> list[TilesetRecord]:
    if uids:
        return [site.catalogue.tileset(uid) for uid in uids]
    records = site.catalogue.tilesets()
    if not view_id:
        return records
    in_view = set(tilesets_of(site.catalogue.view(view_id).viewconf))
    return [record for record in records if record.uid in in_view]
