"""Write a hub as a folder of files, for any web server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import InvalidRequest, NoFile, SiteReadOnly
from trackserver.hubs import igv, jbrowse, ucsc, washu
from trackserver.hubs.headers import HeaderCache
from trackserver.hubs.hub import EXTENSIONS, Addresses, Hub, TilesetSelection, has_ucsc_name, make_hub
from trackserver.hubs.links import FileAddresses, browser_links
from trackserver.sources.source import is_remote
from trackserver.storage import whole_folder

CopyFile = Callable[[Path, Path], object]  # such as `os.symlink` or `shutil.copyfile`


class WrittenHub(NamedTuple):
    """A hub, and the links that open it, by assembly and browser."""

    hub: Hub
    links: dict[str, dict[str, str]]


def write_hub(
    site: Site, selection: TilesetSelection, folder: str | os.PathLike[str], url: str, copy_file: CopyFile
) -> WrittenHub:
    """Write a hub for all other browsers, whole or not at all.

    Parameters
    ----------
    folder
        A new folder.
    url
        Where the folder will be reachable.
    copy_file
        Links or copies the site's own files into the folder.

    Raises
    ------
    InvalidRequest
        The folder exists already, or the address is not a web address.
    NoFile
        No other browser can show any of the tilesets.
    """
    folder, base = Path(folder), _check_url(url)
    if os.path.lexists(folder):
        raise InvalidRequest(f"{folder} exists already; name another folder, or remove it first.")
    addresses = Addresses(
        lambda record: f"{base}/files/{_file_name(record)}",
        lambda assembly: f"{base}/{assembly}/chrom.sizes",
    )
    hub = make_hub(site, selection, addresses)
    if not hub.tracks:
        first = hub.left_out[0] if hub.left_out else None
        raise (
            NoFile(first.uid, first.reason)
            if first
            else InvalidRequest("There are no tilesets to make a hub from; add some with `trackserver add`.")
        )
    try:
        with whole_folder(folder.absolute()) as part:
            _write_files(site, hub, addresses, base, part)
            _copy_tracks(site, hub, part / "files", copy_file)
    except OSError as error:
        raise SiteReadOnly(f"Cannot write {folder}: {error.strerror}.") from error
    return WrittenHub(hub, {assembly: _links(hub, assembly, base) for assembly in hub.assemblies})


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest(
            f"'{url}' is not the web address of a folder; write where the files will be reachable, such as "
            "https://lab.example.org/hub."
        )
    return url.rstrip("/")


def _file_name(record: TilesetRecord) -> str:
    return f"{record.uid}.{EXTENSIONS[record.filetype]}"


def _write_files(site: Site, hub: Hub, addresses: Addresses, base: str, folder: Path) -> None:
    contact = site.settings.contact or f"webmaster@{urlsplit(base).hostname}"
    headers = HeaderCache(site).read(track.record for track in hub.tracks)
    supported = [assembly for assembly in hub.assemblies if has_ucsc_name(assembly)]
    for name in hub.assemblies:
        assembly, tracks = site.assembly(name), hub.on(name)
        (folder / name).mkdir()
        sizes = "".join(f"{chrom}\t{size}\n" for chrom, size in assembly.chromsizes.items())
        (folder / name / "chrom.sizes").write_text(sizes)
        if name in supported:
            (folder / name / "trackDb.txt").write_text(ucsc.track_db(tracks, headers))
            (folder / name / "igv.xml").write_text(igv.make_session(tracks, name, None))
            _write_json(folder / name / "washu.json", washu.make_datahub(tracks))
    if supported:
        (folder / "hub.txt").write_text(ucsc.hub_txt(hub.title, contact, f"{base}/genomes.txt"))
        track_dbs = {name: f"{base}/{name}/trackDb.txt" for name in supported}
        (folder / "genomes.txt").write_text(ucsc.genomes_txt(track_dbs))
    assemblies = [site.assembly(name) for name in hub.assemblies]
    _write_json(folder / "jbrowse.json", jbrowse.make_config(hub.tracks, assemblies, addresses, None))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _copy_tracks(site: Site, hub: Hub, folder: Path, copy_file: CopyFile) -> None:
    folder.mkdir()
    for track in hub.tracks:
        if not is_remote(track.record.path):
            copy_file(site.inside(track.record.path).resolve(), folder / _file_name(track.record))


def _links(hub: Hub, assembly: str, base: str) -> dict[str, str]:
    files = FileAddresses(
        ucsc=f"{base}/hub.txt",
        igv=f"{base}/{assembly}/igv.xml",
        jbrowse=f"{base}/jbrowse.json",
        washu=f"{base}/{assembly}/washu.json",
    )
    return browser_links(hub.on(assembly), assembly, None, files)
