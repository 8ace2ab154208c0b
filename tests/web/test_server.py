"""The real process: gunicorn, its workers, its signals."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT

from tests.conftest import make_site
from trackserver import config
from trackserver.catalogue.site import Site
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.jobs.process import MAX_FALSE_STARTS
from trackserver.processes import python_command


class Running:
    """A server of a site, and connections to it."""

    def __init__(self, site: Site, *flags: str, folder: Path | None = None, variables: dict[str, str] | None = None):
        self.site = site
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = python_command("trackserver", "serve", "--port", str(self.port), "--site", str(site.path), *flags)
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ | (variables or {})
        )
        until(lambda: self.process.poll() is not None or self.answers())

    def answers(self) -> bool:
        try:
            return self.ask("/healthz")[0] == 200
        except OSError:
            return False

    def ask(self, path: str, sent: Any = None) -> tuple[int, Any]:
        """Status and JSON, over a connection of its own: any worker may answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return talk(connection, path, sent)
        finally:
            connection.close()

    def raw(self, request: bytes) -> tuple[int, dict[str, Any]]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as wire:
            wire.sendall(request)
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def stop(self) -> str:
        """What it has said."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[1]


def talk(connection: http.client.HTTPConnection, path: str, sent: Any = None) -> tuple[int, Any]:
    connection.request("GET" if sent is None else "POST", path, None if sent is None else json.dumps(sent))
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, json.loads(body) if answer.headers.get_content_type() == "application/json" else body.decode()


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Running]:
    """Without a model, so that no worker loads torch."""
    site = make_site(tmp_path_factory.mktemp("served") / "site", files)
    shutil.rmtree(site.models / "random")
    running = Running(site, "--workers", "2", "--access-log", "access.log")
    yield running
    running.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Servers that end with the test."""
    started: list[Running] = []

    def start(site: Site, *flags: str, **options: Any) -> Running:
        started.append(Running(site, *flags, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()


def test_an_effect_is_seen_from_every_worker(start: Callable[..., Running], tmp_path: Path, files: Path) -> None:
    server = start(make_site(tmp_path / "site", files), "--workers", "2")
    ref = decode(server.site.reference("tiny").genome.codes(Locus("chrA", 20_010, 20_011)))
    status, job = server.ask("/api/v1/effects/", {"variants": [f"chrA:20011:{ref}:{'A' if ref != 'A' else 'C'}"]})
    assert (status, job["status"] in ("queued", "running")) == (202, True)
    seen = [job["status"]]
    while seen[-1] != "done":
        status, result = server.ask(f"/api/v1/effects/{job['id']}/")
        assert (status, result["status"] in ("queued", "running", "done")) == (200, True), result
        seen.append(result["status"])
        time.sleep(0.05)
    for _ in range(20):
        jobs = {job["id"]: job["status"] for job in server.ask("/api/v1/jobs/")[1]["jobs"]}
        assert jobs == {"warm-up": "done", job["id"]: "done"}
    assert server.stop().count("\n") == 1  # its address, and nothing that went wrong


def computing(site: Site) -> list[int]:
    """The processes that compute for a site."""
    output = {int(path.parent.name): said_by(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [
        process for process, words in output.items() if "trackserver.jobs.process" in words and str(site.path) in words
    ]


def said_by(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended meanwhile


def test_what_computes_is_replaced_when_it_ends_and_ends_with_the_server(
    start: Callable[..., Running], tmp_path: Path, files: Path
) -> None:
    """Killed at work, as where memory runs out: the question is answered by the next; no process is left behind."""
    server = start(make_site(tmp_path / "site", files), "--workers", "2")
    until(lambda: computing(server.site))
    (first,) = computing(server.site)
    os.kill(first, signal.SIGKILL)
    assert effect_of(server)["status"] == "done"
    (second,) = computing(server.site)
    assert second != first
    assert "ended (status -9); starting another" in server.stop()
    until(lambda: not computing(server.site))


def test_what_computes_ends_with_a_worker_that_is_killed(
    start: Callable[..., Running], tmp_path: Path, files: Path
) -> None:
    server = start(make_site(tmp_path / "site", files))
    until(lambda: computing(server.site))
    (first,) = computing(server.site)
    os.kill(int(Path(f"/proc/{first}/stat").read_text().split()[3]), signal.SIGKILL)  # its parent
    until(lambda: computing(server.site) not in ([], [first]))
    assert len(computing(server.site)) == 1


def test_the_folder_one_stands_in_is_not_code(start: Callable[..., Running], tmp_path: Path, files: Path) -> None:
    """As where somebody's home holds a clone, or a download is named like a library."""
    folder, ran = tmp_path / "home", tmp_path / "ran"
    for name in ("numpy", "torch", "json", "trackserver"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"open({str(ran)!r}, 'w').write({name!r})")
    server = start(make_site(tmp_path / "site", files), folder=folder)
    assert effect_of(server)["status"] == "done"
    assert not ran.exists()
    assert server.stop().count("\n") == 1


def test_a_process_that_never_begins_is_given_up_and_jobs_say_so(
    start: Callable[..., Running], tmp_path: Path, files: Path
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import os, sys\nif 'trackserver.jobs.process' in sys.orig_argv:\n    os._exit(7)\n"
    )
    server = start(make_site(tmp_path / "site", files), variables={"PYTHONPATH": str(tmp_path / "path")})
    result = effect_of(server)
    assert (result["status"], result["code"]) == ("failed", "computing_fails")
    assert "stops as soon as it starts (status 7)" in result["error"]
    assert server.stop().count("has ended (status 7)") % MAX_FALSE_STARTS == 0


def effect_of(server: Running) -> dict[str, Any]:
    """A variant's effect, once it is done or has failed."""
    ref = decode(server.site.reference("tiny").genome.codes(Locus("chrA", 20_010, 20_011)))
    _, job = server.ask("/api/v1/effects/", {"variants": [f"chrA:20011:{ref}:{'A' if ref != 'A' else 'C'}"]})
    until(lambda: server.ask(f"/api/v1/effects/{job['id']}/")[1]["status"] in ("done", "failed"))
    result: dict[str, Any] = server.ask(f"/api/v1/effects/{job['id']}/")[1]
    return result


def test_workers_count_together(server: Running) -> None:
    def count() -> float:
        text = server.ask("/metrics")[1]
        return float(
            re.search(r'request_seconds_count\{method="GET",route="/api/v1/site/",status="200"\} (\S+)', text)[1]
        )

    server.ask("/api/v1/site/")
    before = count()
    for _ in range(40):
        server.ask("/api/v1/site/")
    assert count() == before + 40


def test_the_access_log_has_a_line_for_each_request(server: Running) -> None:
    server.ask("/api/v1/tiles/?d=signal.0.0&s=logged")
    log = server.site.path / "access.log"
    until(lambda: "s=logged" in log.read_text())
    (line,) = [line for line in log.read_text().splitlines() if "s=logged" in line]
    assert re.fullmatch(
        r'\[[^]]+\] 127\.0\.0\.1 "GET /api/v1/tiles/\?d=signal\.0\.0&s=logged HTTP/1\.1" 200 \d+ bytes \d+ ms', line
    )


def test_a_thousand_ids_fit_into_an_address(server: Running) -> None:
    ids = "&".join(f"d=signal.16.{x}" for x in range(1000))
    status, tiles = server.ask(f"/api/v1/tiles/?{ids}")
    assert (status, len(tiles)) == (200, 1000)
    assert server.ask(f"/api/v1/tiles/?{ids}&d=signal.1.1")[0] == 400


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /api/v1/tiles/?d=" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", 431),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST /api/v1/views/ HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /api/v1/views/ HTTP/1.1\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n{}", 413),
        (b"POST /api/v1/views/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /%ff%00%fe HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_what_is_hardly_http_is_refused_in_json(server: Running, request_: bytes, status: int) -> None:
    answered, body = server.raw(request_)
    assert (answered, set(body), body["status"]) == (status, {"error", "code", "status"}, status)


def test_a_reload_under_load_loses_no_request_and_reads_the_settings_anew(server: Running) -> None:
    """Half of the clients keep their connections, half make one for each request."""
    answers: list[int] = []
    stop = threading.Event()

    def keep_on_asking() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        while not stop.is_set():
            answers.append(talk(connection, "/api/v1/tiles/?d=signal.3.1")[0])
            if connection.sock is None:  # the server said Connection: close
                connection.close()
        connection.close()

    def ask_anew() -> None:
        while not stop.is_set():
            answers.append(server.ask("/api/v1/tiles/?d=signal.3.2")[0])

    faults: list[object] = []
    hook, threading.excepthook = threading.excepthook, lambda args: faults.append(args.exc_value)
    threads = [threading.Thread(target=target) for target in (keep_on_asking, ask_anew) * 3]
    try:
        for thread in threads:
            thread.start()
        file = server.site.path / config.FILE
        for number in range(3):
            file.write_text(re.sub(r"^(title = .*\n)?", f'title = "Reload {number}"\n', file.read_text()))
            before = len(answers)
            server.process.send_signal(signal.SIGHUP)
            until(
                lambda title=f"Reload {number}": {server.ask("/api/v1/site/")[1]["title"] for _ in range(8)} == {title}
            )
            until(lambda before=before: len(answers) > before + 50)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        threading.excepthook = hook
    assert faults == []
    assert set(answers) == {200}


def test_settings_that_cannot_be_read_change_nothing(server: Running) -> None:
    title = server.ask("/api/v1/site/")[1]["title"]
    file = server.site.path / config.FILE
    good = file.read_text()
    file.write_text("prot = 1\n")
    server.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert {server.ask("/api/v1/site/")[1]["title"] for _ in range(8)} == {title}
    file.write_text(good)


def test_one_worker_logs_to_stderr_if_asked(start: Callable[..., Running], server: Running) -> None:
    running = start(server.site, "--access-log", "-")
    running.ask("/api/v1/site/")
    printed = running.stop()
    assert '"GET /api/v1/site/ HTTP/1.1" 200' in printed
    assert "Traceback" not in printed


def test_connections_that_a_browser_opened_ahead_do_not_hold_up_the_end(
    start: Callable[..., Running], server: Running
) -> None:
    running = start(server.site)
    with socket.create_connection(("127.0.0.1", running.port)):
        time.sleep(DEFAULT_WORKER_DATA_TIMEOUT + 1)  # until gunicorn puts it aside
        running.process.terminate()
        running.process.communicate(timeout=15)  # it would be kept alive for 30
