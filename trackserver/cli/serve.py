"""Verbs that start a server: serve, demo."""

from __future__ import annotations

import logging
import threading
import time
import webbrowser
from pathlib import Path

import click

from trackserver.catalogue.site import Site
from trackserver.cli.common import open_site, show_stages, site_option, stderr
from trackserver.web.server import Server, address, check_port, is_listening

_host = click.option("--host", help="Address to listen on; 0.0.0.0 accepts other machines.  [default: 127.0.0.1]")
_port = click.option("--port", type=click.IntRange(1, 65535), help="[default: 8989]")


@click.command()
@_host
@_port
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve requests.  [default: 1]")
@click.option("--access-log", metavar="FILE", help="Log each request to this file; - for stderr.")
@site_option
def serve(
    host: str | None, port: int | None, workers: int | None, access_log: str | None, directory: Path | None
) -> None:
    """Serve the site to browsers.

    On SIGHUP the server reloads the settings and replaces its workers without losing a request.
    """
    run_server(open_site(directory, host=host, port=port, workers=workers, access_log=access_log))


@click.command()
@_host
@_port
@click.option("--open/--no-open", "browse", default=True, help="Whether to open the browser.")
@click.option("--dir", "directory", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the demo site. Default: in your application data.")  # fmt: skip
@click.option("--build-only", is_flag=True, help="Build the site without serving it.")
def demo(host: str | None, port: int | None, browse: bool, directory: Path | None, build_only: bool) -> None:
    """Show everything on a synthetic genome: no network, no GPU, no account.

    The first time, this builds the demo site; later it only serves it.
    """
    from trackserver.demo.site import build_demo, is_built

    folder = directory or Path(click.get_app_dir("trackserver")) / "demo"
    if not is_built(folder):
        with show_stages("Building the demo") as report:
            build_demo(folder, report)
    if not build_only:
        run_server(Site(folder, host=host, port=port), browse=browse)


def run_server(site: Site, browse: bool = False) -> None:
    """Serve until stopped; print the address once the server is listening."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    check_port(site)
    threading.Thread(target=_announce, args=(site, browse), daemon=True).start()
    Server(site).run()


def _announce(site: Site, browse: bool) -> None:
    while not is_listening(site):
        time.sleep(0.05)
    stderr.print(f"trackserver is at {address(site)} (Ctrl-C stops it)", highlight=False)
    if browse:
        webbrowser.open(address(site))
