"""The demo, built as a user builds it and served by its own process, and a Chromium to look at it with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from trackserver.catalogue.site import Site
from trackserver.demo.site import build_demo
from trackserver.web.pages import STATIC

# WebGL in software, and nothing that looks for a network.
FLAGS = (
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()


expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def demo_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build_demo(tmp_path_factory.mktemp("demo") / "site")


@pytest.fixture(scope="session")
def server(demo_site: Site) -> Iterator[tuple[str, int]]:
    """The address of a server of the demo, and its process id."""
    with serving(demo_site) as started:
        yield started


@contextmanager
def serving(site: Site) -> Iterator[tuple[str, int]]:
    """The address of a server of a site, and its process id."""
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page has not been built: make install")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "trackserver", "serve", "--port", str(port), "--site", str(site.path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.communicate(timeout=20)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {process.communicate()[1].decode() if process.poll() is not None else ''}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine, and it could not be installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[object]:
    """Open an address in a fresh context; whatever the page complains of fails the test."""
    contexts, complaints = [], []

    def tilesets(url: str, width: int = 1280, height: int = 800, scheme: str = "light", *, tiles: bool = True) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.goto(url)
        page.wait_for_function("window.trackserver?.ready")
        if tiles:  # where a tileset is gone, they never come
            page.evaluate("window.trackserver.tilesLoaded()")
        return page

    yield tilesets
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(message: ConsoleMessage) -> bool:
    """An error of the page's own; Chromium itself logs every 4xx, which is how a question can be answered."""
    return message.type == "error" and "Failed to load resource" not in message.text
