"""A hub as a folder of files, for any web server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, NoFile, SiteReadOnly
from trackserver.hubs import igv, jbrowse, ucsc, washu
from trackserver.hubs.headers import Headers
from trackserver.hubs.hub import ENDINGS, Addresses, Chosen, Hub, is_shown_elsewhere, make_hub
from trackserver.hubs.links import Files, browser_links
from trackserver.sources.source import is_remote
from trackserver.storage import whole_folder

Place = Callable[[Path, Path], object]  # how a file gets into the folder: `os.symlink`, `shutil.copyfile`


class Written(NamedTuple):
    """A folder that stands, and the links that open it, by assembly and browser."""

    hub: Hub
    links: dict[str, dict[str, str]]


def write_hub(site: Site, chosen: Chosen, folder: Path, url: str, place: Place) -> Written:
    """Write what was chosen for all other browsers, whole or not at all.

    Parameters
    ----------
    url
        Where the folder will be reachable.
    place
        Puts the site's own files into the folder.

    Raises
    ------
    InvalidRequest
        The folder is there already, or the address is none of the web.
    NoFile
        No other browser can show any of it.
    """
    base = _checked(url)
    if os.path.lexists(folder):
        raise InvalidRequest(f"{folder} is there already; name another folder, or remove it first.")
    addresses = Addresses(
        lambda record: f"{base}/files/{record.uid}.{ENDINGS[record.filetype]}",
        lambda assembly: f"{base}/{assembly}/chrom.sizes",
    )
    hub = make_hub(site, chosen, addresses)
    if not hub.tracks:
        first = hub.left_out[0] if hub.left_out else None
        raise NoFile(first.uid, first.why) if first else InvalidRequest("There is no tileset to make a hub of.")
    try:
        with whole_folder(folder.absolute()) as part:
            _write(site, hub, addresses, base, part)
            _place_files(site, hub, part / "files", place)
    except OSError as error:
        raise SiteReadOnly(f"{folder} cannot be written: {error.strerror}.") from error
    return Written(hub, {assembly: _links(hub, assembly, base) for assembly in hub.assemblies})


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest(
            f"'{url}' is no address of a folder on the web; one reads https://lab.example.org/hub, where the files "
            "will be reachable."
        )
    return url.rstrip("/")


def _write(site: Site, hub: Hub, addresses: Addresses, base: str, folder: Path) -> None:
    contact = site.settings.contact or f"webmaster@{urlsplit(base).hostname}"
    headers = Headers(site).of(track.record for track in hub.tracks)
    known = [assembly for assembly in hub.assemblies if is_shown_elsewhere(assembly)]
    for name in hub.assemblies:
        assembly, tracks = site.assembly(name), hub.on(name)
        (folder / name).mkdir()
        sizes = "".join(f"{chrom}\t{size}\n" for chrom, size in assembly.chromsizes.items())
        (folder / name / "chrom.sizes").write_text(sizes)
        if name in known:
            (folder / name / "trackDb.txt").write_text(ucsc.track_db(tracks, headers))
            (folder / name / "igv.xml").write_text(igv.igv(tracks, name, None))
            _write_json(folder / name / "washu.json", washu.washu(tracks))
    if known:
        (folder / "hub.txt").write_text(ucsc.hub_txt(hub.title, contact, f"{base}/genomes.txt"))
        track_dbs = {name: f"{base}/{name}/trackDb.txt" for name in known}
        (folder / "genomes.txt").write_text(ucsc.genomes_txt(track_dbs))
    assemblies = [site.assembly(name) for name in hub.assemblies]
    _write_json(folder / "jbrowse.json", jbrowse.jbrowse(hub.tracks, assemblies, addresses, None))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _place_files(site: Site, hub: Hub, folder: Path, place: Place) -> None:
    folder.mkdir()
    for track in hub.tracks:
        if not is_remote(track.record.path):
            own = site.inside(track.record.path).resolve()
            place(own, folder / f"{track.record.uid}.{ENDINGS[track.record.filetype]}")


def _links(hub: Hub, assembly: str, base: str) -> dict[str, str]:
    files = Files(
        ucsc=f"{base}/hub.txt",
        igv=f"{base}/{assembly}/igv.xml",
        jbrowse=f"{base}/jbrowse.json",
        washu=f"{base}/{assembly}/washu.json",
    )
    return browser_links(hub.on(assembly), assembly, None, files)
