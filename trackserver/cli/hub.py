"""The catalogue for other genome browsers, as files."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import click

from trackserver.catalogue.site import Site
from trackserver.cli.common import json_option, open_site, print_json, print_table, site_option, stderr
from trackserver.hubs.folder import write_hub
from trackserver.hubs.hub import Chosen, drawn_by, named, whole_catalogue
from trackserver.hubs.links import limits, reach


@click.command()
@click.argument("uids", nargs=-1, metavar="[UID]...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The folder to write, a new one.")
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

    Prints the links that open them, once a web server shows the folder. A running server has the same under
    /api/v1/hub/, without a folder.
    """
    if uids and view_id:
        raise click.UsageError("Give uids or --view.")
    site = open_site(directory)
    chosen = _chosen(site, uids, view_id)
    if assembly:
        lies_on = site.assembly(assembly).name
        chosen = chosen._replace(records=[record for record in chosen.records if record.assembly == lies_on])
    written = write_hub(site, chosen, out, url, shutil.copyfile if copy else os.symlink)
    if as_json:
        left_out = [left._asdict() for left in written.hub.left_out]
        print_json({"tracks": len(written.hub.tracks), "links": written.links, "left_out": left_out})
        return
    rows = [(name, browser, link) for name, links in written.links.items() for browser, link in links.items()]
    print_table(["assembly", "browser", "link"], rows)
    said = [f"{count} left out: {why}." for why, count in Counter(left.why for left in written.hub.left_out).items()]
    said += [note for name in written.links for note in limits(written.hub, name)]
    for sentence in (*said, *reach(url)):
        stderr.print(sentence, highlight=False, markup=False)


def _chosen(site: Site, uids: tuple[str, ...], view_id: str | None) -> Chosen:
    if view_id:
        return drawn_by(site, site.catalogue.view(view_id))
    return named(site, uids) if uids else whole_catalogue(site)
