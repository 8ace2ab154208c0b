"""The ENCODE portal's files: found, put into the catalogue, cited."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.viewconf import tilesets_of
from trackserver.cli.common import json_option, open_site, print_json, print_table, site_option, stderr, transferring
from trackserver.encode.add import Asked, Wish, portal_of
from trackserver.encode.add import add as add_files
from trackserver.encode.add import search as search_files
from trackserver.encode.citation import citation, cite, encode_tracks
from trackserver.errors import InvalidRequest


@click.group()
def encode() -> None:
    """ENCODE's tracks: look for them on its portal, add them to the site, cite them."""


@encode.command()
@click.argument("text", default="")
@click.option("--assay", default="", help="DNase-seq, TF ChIP-seq …, or the catalogue's word: DNASE, CHIP …")
@click.option("--biosample", default="", help="K562, liver …")
@click.option("--target", default="", help="CTCF, H3K27ac …")
@click.option("--assembly", help="By default the site's own.")
@click.option("--output-type", default="", help="fold change over control, signal p-value …")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True, help="How many files to list.")
@site_option
@json_option
def search(text: str, assembly: str | None, limit: int, directory: Path | None, as_json: bool, **names: str) -> None:
    """The portal's bigWigs. An experiment's are listed together, the one to show first.

    Example: trackserver encode search --assay 'TF ChIP-seq' --target GATA1 --biosample K562

    Names are exact, as the portal writes them; TEXT is looked for everywhere.
    """
    site = open_site(directory)
    asked = Asked(text, assembly=assembly or site.default_assembly, **names)
    total, files = search_files(portal_of(site), asked, limit)
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
            f"On {asked.assembly}. Names are exact (K562, not k562); words without an option are looked for anywhere."
        )
    elif total > len(files):
        stderr.print(f"{len(files):,} of {total:,} files; --limit lists more, other options fewer.")


@encode.command()
@click.argument("accessions", nargs=-1, required=True, metavar="ACCESSION...")
@click.option("--how", type=click.Choice(["attach", "download"]), default="attach", show_default=True,
              help="Read it where it lies, by ranges; or copy it into the site.")  # fmt: skip
@click.option("--output-type", default="", help="Of experiments, this signal and not the one chosen.")
@click.option("--assembly", default="", help="By default the site's own.")
@click.option("--uid", default="", help="Identity in links, for one file; by default its accession.")
@site_option
@json_option
def add(accessions: tuple[str, ...], directory: Path | None, as_json: bool, **wish: Any) -> None:
    """Add files (ENCFF…) to the site, or of experiments (ENCSR…) the right one, of a stranded one both.

    Example: trackserver encode add ENCSR000EOT ENCFF136DBS

    A download that was interrupted goes on where it stopped. What cannot be added is said, and the rest is added.
    """
    site = open_site(directory)
    with transferring("Fetching") as report:
        added = add_files(site, portal_of(site), accessions, Wish(**wish), report)
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
    """What to write where ENCODE's tracks are published: of these tracks, of a view's, or of all the site's."""
    tracks = encode_tracks(_meant(open_site(directory), uids, view_id))
    if as_json:
        print_json([
            {"uid": track.uid, "accession": track.accession, "text": citation(track)} | track.provenance["encode"]
            for track in tracks
        ])  # fmt: skip
    elif tracks:
        click.echo(cite(tracks))
    else:
        stderr.print("None of these tracks was added from ENCODE.")


def _meant(site: Site, uids: tuple[str, ...], view_id: str | None) -> list[TilesetRecord]:
    if uids:
        return [site.catalogue.tileset(uid) for uid in uids]
    known = site.catalogue.tilesets()
    if not view_id:
        return known
    drawn = set(tilesets_of(site.catalogue.view(view_id).viewconf))
    return [record for record in known if record.uid in drawn]
