"""Verb that writes the catalogue as files for other genome browsers: hub."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import click

from trackserver.catalogue.site import Site
from trackserver.cli.common import json_option, open_site, print_json, print_table, site_option, stderr
from trackserver.hubs.folder import write_hub
from trackserver.hubs.hub import TilesetSelection, select_all, select_by_uid, select_by_view
from trackserver.hubs.links import address_notes, limit_notes


@click.command()
@click.argument("uids", nargs=-1, metavar="[UID]...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The new folder to write.")
@click.option("--url", required=True, help="Where the folder will be reachable: https://lab.example.org/hub")
@click.option("--view", "view_id", help="The tracks of a shared view, by the id in its link.")
@click.option("--assembly", help="Tracks on this assembly only.")
@click.option("--copy", is_flag=True, help="Copy the site's own bigWigs into the folder, instead of linking to them.")
@site_option
@json_option
def hub(
    uids: tuple[str, ...],
    out: Path,
    url: str,
    view_id: str | None,
    assembly: str | None,
    copy: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Write the catalogue, a view or some tilesets for UCSC, IGV, JBrowse and WashU.

    Example: trackserver hub -o hub --url https://lab.example.org/hub

    Prints links that open the tracks once a web server serves the folder. A running trackserver offers the same
    under /api/v1/hub/, without a folder.
    """
    if uids and view_id:
        raise click.UsageError("Give uids or --view, not both.")
    site = open_site(directory)
    selection = _select(site, uids, view_id)
    if assembly:
        name = site.assembly(assembly).name
        selection = selection._replace(records=[record for record in selection.records if record.assembly == name])
    written = write_hub(site, selection, out, url, shutil.copyfile if copy else os.symlink)
    if as_json:
        left_out = [tileset._asdict() for tileset in written.hub.left_out]
        print_json({"tracks": len(written.hub.tracks), "links": written.links, "left_out": left_out})
        return
    rows = [(name, browser, link) for name, links in written.links.items() for browser, link in links.items()]
    print_table(["assembly", "browser", "link"], rows)
    reasons = Counter(tileset.reason for tileset in written.hub.left_out)
    notes = [f"{count} left out: {reason}." for reason, count in reasons.items()]
    notes += [note for name in written.links for note in limit_notes(written.hub, name)]
    for note in (*notes, *address_notes(url)):
        stderr.print(note, highlight=False, markup=False)


def _select(site: Site, uids: tuple[str, ...], view_id: str | None) -> TilesetSelection:
    if view_id:
        return select_by_view(site, site.catalogue.view(view_id))
    return select_by_uid(site, uids) if uids else select_all(site)
