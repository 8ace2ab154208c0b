from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trackserver.errors import InvalidRequest, QueueFull, SiteReadOnly, UnknownJob
from trackserver.jobs import queue as module
from trackserver.jobs.queue import DONE, FAILED, QUEUED, RUNNING, WARM_UP, Job, Jobs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended(jobs: Jobs, job_id: str) -> Job:
    until(lambda: jobs.get(job_id).status in (DONE, FAILED))
    return jobs.get(job_id)


def test_jobs_wait_in_order_and_say_where_they_are(place: Path) -> None:
    gate, order = threading.Event(), []
    jobs = Jobs(place, 8, {"wait": lambda *_: gate.wait(), "note": lambda job_id, asked: order.append((job_id, asked))})
    jobs.submit("a", "wait", {})
    for name in "bc":
        jobs.submit(name, "note", {"name": name})
    until(lambda: jobs.get("a").status == RUNNING)
    assert [(job.id, job.status, job.position) for job in jobs.all()] == [
        ("a", RUNNING, 0), ("b", QUEUED, 1), ("c", QUEUED, 2),
    ]  # fmt: skip
    assert jobs.waiting() == 2
    gate.set()
    done = ended(jobs, "c")
    assert order == [("b", {"name": "b"}), ("c", {"name": "c"})]
    assert done.created
    assert done.ended
    assert done.created < done.ended
    assert jobs.waiting() == 0


def test_the_same_id_is_joined_not_repeated(place: Path) -> None:
    gate, runs = threading.Event(), []

    def work(*_: object) -> None:
        gate.wait()
        runs.append(1)

    jobs = Jobs(place, 8, {"work": work})
    for _ in range(3):
        jobs.submit("a", "work", {})
    gate.set()
    ended(jobs, "a")
    assert runs == [1]
    jobs.submit("a", "work", {})
    until(lambda: runs == [1, 1])


def test_work_with_more_to_do_lets_others_go_first(place: Path) -> None:
    gate, order = threading.Event(), []

    def long(job_id: str, asked: object) -> object:
        gate.wait()
        order.append(job_id)
        return True if order.count(job_id) < 4 else None

    jobs = Jobs(place, 8, {"long": long, "short": lambda job_id, asked: order.append(job_id)})
    jobs.submit("a", "long", {})
    until(lambda: jobs.get("a").status == RUNNING)
    jobs.submit("b", "short", {})
    jobs.submit("c", "long", {})
    gate.set()
    ended(jobs, "a")
    ended(jobs, "c")
    assert order == ["a", "b", "c", "a", "c", "a", "c", "a", "c"]
    assert jobs.submit("d", "short", {}).status != FAILED


def test_a_full_queue_is_said(place: Path) -> None:
    gate = threading.Event()
    jobs = Jobs(place, 1, {"wait": lambda *_: gate.wait()})
    jobs.submit("a", "wait", {})
    until(lambda: jobs.get("a").status == RUNNING)
    jobs.submit("b", "wait", {})
    with pytest.raises(QueueFull, match="1 questions are waiting"):
        jobs.submit("c", "wait", {})
    gate.set()


def test_a_failure_is_kept_and_the_worker_goes_on(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    def ours(*_: object) -> None:
        raise InvalidRequest("Ask differently.")

    def unforeseen(*_: object) -> None:
        raise ZeroDivisionError

    jobs = Jobs(place, 8, {"ours": ours, "unforeseen": unforeseen, "fine": lambda *_: None})
    for name in ("ours", "unforeseen", "fine"):
        jobs.submit(name, name, {})
    assert ended(jobs, "fine").status == DONE
    assert (jobs.get("ours").error, jobs.get("ours").code) == ("Ask differently.", "invalid_request")
    assert jobs.get("unforeseen").code == "internal"
    assert "ZeroDivisionError" in caplog.text


def test_whoever_works_begins_with_loading_the_model(place: Path) -> None:
    gate, order = threading.Event(), []
    jobs = Jobs(place, 8, {"note": lambda *_: order.append("job")})

    def load() -> None:
        gate.wait()
        order.append("model")

    jobs.start(lambda lock: jobs.work(load))
    until(lambda: [job.id for job in jobs.all()] == [WARM_UP])
    assert jobs.submit("a", "note", {}).position == 1
    gate.set()
    ended(jobs, "a")
    assert order == ["model", "job"]


def test_several_at_once(place: Path) -> None:
    """Each waits for the others, so they are done only if all are at work at the same time."""
    together = threading.Barrier(3)
    jobs = Jobs(place, 8, {"meet": lambda *_: together.wait(20)})
    jobs.start(lambda lock: jobs.work(at_once=3))
    for name in "abc":
        jobs.submit(name, "meet", {})
    assert [ended(jobs, name).status for name in "abc"] == [DONE] * 3


def test_old_jobs_are_forgotten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    jobs = Jobs(place, 8, {"nothing": lambda *_: None})
    for number in range(6):
        jobs.submit(str(number), "nothing", {})
        ended(jobs, str(number))
    assert [job.id for job in jobs.all()] == ["3", "4", "5"]


def test_an_unknown_job(place: Path) -> None:
    jobs = Jobs(place, 1, {})
    with pytest.raises(UnknownJob):
        jobs.get("nothing")
    assert (jobs.all(), jobs.waiting(), place.exists()) == ([], 0, False)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(SiteReadOnly, match="cannot be written"):
        Jobs(tmp_path / "cache" / "jobs.sqlite", 1, {}).submit("a", "x", {})


PROCESS = """
import os, sys, time
from pathlib import Path
from trackserver.jobs.queue import Jobs

place = Path(sys.argv[1])

def work(job_id, asked):
    (place.parent / f"{job_id}-{os.getpid()}").touch()
    while (place.parent / "closed").exists():
        time.sleep(0.005)

jobs = Jobs(place, 8, {"work": work})
jobs.start()
print(os.getpid(), flush=True)
for line in sys.stdin:
    jobs.submit(line.strip(), "work", {})
    print("queued", flush=True)
"""


def test_processes_share_a_queue_and_one_takes_over_from_another(place: Path) -> None:
    gate = place.parent / "closed"
    gate.touch()
    here = Jobs(place, 8, {})  # looks on, as a third process would
    command = [sys.executable, "-c", PROCESS, str(place)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    try:
        for process in processes:
            process.stdout.readline()
        for number, name in enumerate("abcd"):
            processes[number % 2].stdin.write(f"{name}\n")
            assert processes[number % 2].stdout.readline() == "queued\n"
        until(lambda: here.get("a").status == RUNNING)
        assert [(job.id, job.position) for job in here.all()] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]

        (first,) = place.parent.glob("a-*")
        at_work = int(first.name.partition("-")[2])
        os.kill(at_work, signal.SIGKILL)
        until(lambda: len(list(place.parent.glob("a-*"))) == 2)
        gate.unlink()
        assert [ended(here, name).status for name in "abcd"] == [DONE] * 4
        (other,) = {process.pid for process in processes} - {at_work}
        assert {path.name for path in place.parent.glob("[bcd]-*")} == {f"{name}-{other}" for name in "bcd"}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_job_that_ends_its_process_is_given_up_at_last(place: Path) -> None:
    script = PROCESS.replace("    while", "    os._exit(9)\n    while")
    for sent in ("a\n", ""):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(place)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        process.stdin.write(sent)
        process.stdin.flush()
        assert process.wait(20) == 9
        process.stdin.close()
    assert Jobs(place, 1, {}).get("a").status == RUNNING
    third = Jobs(place, 1, {})
    third.start()
    assert "memory" in ended(third, "a").error
