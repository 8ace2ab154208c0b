from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trackserver.errors import DataError, InvalidRequest, Unavailable
from trackserver.sources import download
from trackserver.sources.download import download_file

BODY = bytes(range(256)) * 8192  # 2 MiB: several pieces
HALF = len(BODY) // 2
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """One file at every path but /none; `sent` is what went out, `asked` which range was asked for each time."""

    daemon_threads = True
    body = BODY
    etag = '"one"'
    ranges = True
    shift = 0  # how far beside the range asked for it answers
    cut = 0  # break off after so many bytes
    silent = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent = 0
        self.asked: list[int | None] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/w.pth?download=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.asked.append(int(asked[1]) if asked else None)
        if server.silent:
            server.released.wait(10)
            return
        if self.path == "/none":
            self.send_error(404)
            return
        same = self.headers.get("If-Range", server.etag) == server.etag
        start = int(asked[1]) + server.shift if asked and server.ranges and same else 0
        if start > len(server.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        end = server.cut or len(server.body)
        server.sent += end - start
        self.wfile.write(server.body[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "w.pth"


def unheard(done: int, total: int) -> None:
    pass


def cut_short(server: Server, path: Path, known_hash: str | None) -> None:
    server.cut = HALF
    with pytest.raises(Unavailable, match=f"broke after {HALF:,} bytes; run the command again to continue from there"):
        download_file(server.url, path, known_hash, unheard)
    assert not path.exists() and path.with_name("w.pth.partial").stat().st_size == HALF
    server.cut = server.sent = 0


@pytest.mark.parametrize("known_hash", [None, MD5, SHA256, SHA256.upper().replace("SHA256", "sha256")])
def test_a_whole_file_and_its_progress(server: Server, path: Path, known_hash: str | None) -> None:
    heard: list[tuple[int, int]] = []
    assert download_file(server.url, path, known_hash, lambda done, total: heard.append((done, total))) == path
    assert path.read_bytes() == BODY and list(path.parent.iterdir()) == [path]
    assert heard[0] == (0, len(BODY)) and heard[-1] == (len(BODY), len(BODY)) and heard == sorted(heard)


def test_what_is_there_is_not_fetched_again(server: Server, path: Path) -> None:
    download_file(server.url, path, MD5, unheard)
    download_file(server.url, path, MD5, unheard)
    assert len(server.asked) == 1
    path.write_bytes(b"spoilt")
    download_file(server.url, path, MD5, unheard)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("known_hash", [None, MD5])
def test_a_file_cut_short_goes_on_and_only_the_rest_is_sent(server: Server, path: Path, known_hash: str | None) -> None:
    cut_short(server, path, known_hash)
    heard: list[tuple[int, int]] = []
    download_file(server.url, path, known_hash, lambda done, total: heard.append((done, total)))
    assert path.read_bytes() == BODY and list(path.parent.iterdir()) == [path]
    assert server.sent == len(BODY) - HALF and server.asked == [None, HALF]
    assert heard[0] == (HALF, len(BODY)) and heard[-1] == (len(BODY), len(BODY))


def test_it_starts_again_where_the_server_knows_no_ranges(server: Server, path: Path) -> None:
    server.ranges = False
    cut_short(server, path, MD5)
    download_file(server.url, path, MD5, unheard)
    assert path.read_bytes() == BODY and server.sent == len(BODY)


def test_it_starts_again_where_the_file_has_changed(server: Server, path: Path) -> None:
    cut_short(server, path, None)
    server.etag, server.body = '"two"', BODY[::-1]
    download_file(server.url, path, None, unheard)
    assert path.read_bytes() == BODY[::-1] and server.sent == len(BODY)


def test_it_starts_again_where_the_file_has_become_shorter(server: Server, path: Path) -> None:
    server.etag = ""
    cut_short(server, path, MD5)
    server.body = BODY[:7]
    with pytest.raises(DataError, match="does not match"):
        download_file(server.url, path, MD5, unheard)
    assert server.asked == [None, HALF, None]


def test_it_starts_again_where_another_range_comes(server: Server, path: Path) -> None:
    cut_short(server, path, None)
    server.shift = 1
    download_file(server.url, path, None, unheard)
    assert path.read_bytes() == BODY and server.asked == [None, HALF, None]


@pytest.mark.parametrize(("etag", "known_hash", "then"), [("", None, None), ("", MD5, HALF), ('W/"one"', None, None)])
def test_it_goes_on_only_where_another_version_would_be_noticed(
    server: Server, path: Path, etag: str, known_hash: str | None, then: int | None
) -> None:
    server.etag = etag
    cut_short(server, path, known_hash)
    download_file(server.url, path, known_hash, unheard)
    assert path.read_bytes() == BODY and server.asked == [None, then]


def test_a_part_of_another_address_is_not_gone_on_with(server: Server, path: Path) -> None:
    cut_short(server, path, MD5)
    download_file(server.url.replace("download=1", "download=2"), path, MD5, unheard)
    assert path.read_bytes() == BODY and server.asked == [None, None]


def test_a_wrong_checksum_leaves_nothing(server: Server, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.body = BODY[::-1]
    found = hashlib.md5(BODY[::-1]).hexdigest()
    with pytest.raises(DataError, match=rf"w\.pth.* expected {MD5} but got {found}; the file was removed\.$"):
        download_file(server.url, path, MD5, unheard)
    assert list(path.parent.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_status_is_said(server: Server, path: Path) -> None:
    with pytest.raises(Unavailable, match=r"/none answers 404 Not Found\.$"):
        download_file(server.url.replace("/w.pth", "/none").partition("?")[0], path, None, unheard)
    assert list(path.parent.iterdir()) == []


def test_a_host_out_of_reach_keeps_what_there_is(server: Server, path: Path) -> None:
    cut_short(server, path, None)
    server.shutdown()
    server.server_close()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be reached for http.*; check the address"):
        download_file(server.url, path, None, unheard)
    assert path.with_name("w.pth.partial").stat().st_size == HALF


def test_silence_ends(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", (0.3, 0.3))
    server.silent = True
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 does not answer"):
        download_file(server.url, path, None, unheard)


def test_a_folder_that_cannot_be_is_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DataError, match=r"w\.pth cannot be written"):
        download_file(server.url, tmp_path / "models" / "w.pth", None, unheard)


@pytest.mark.parametrize(
    "url", ["ftp://host/w.pth", "file:///etc/passwd", "w.pth", "http://", "http://[", "doi:10.1/x"]
)
def test_only_the_web(path: Path, url: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a web address"):
        download_file(url, path, None, unheard)


@pytest.mark.parametrize("known_hash", ["", "md5:", "xxh64:0000000000000000", MD5[4:], MD5 + "0"])
def test_only_these_checksums(path: Path, known_hash: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a checksum"):
        download_file("https://example.org/w.pth", path, known_hash, unheard)
    assert not path.parent.exists()
