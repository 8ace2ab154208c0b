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
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended(jobs: Jobs, job_id: str) -> Job:
    until(lambda: jobs.get(job_id).status in (DONE, FAILED))
    return jobs.get(job_id)


def test_jobs_wait_in_order_and_say_where_they_are(path: Path) -> None:
    gate, order = threading.Event(), []
    jobs = Jobs(
        path,
        8,
        {"wait": lambda *_: gate.wait() and None, "note": lambda job_id, request: order.append((job_id, request))},
    )
    jobs.submit("a", "wait", {})
    for name in "bc":
        jobs.submit(name, "note", {"name": name})
    until(lambda: jobs.get("a").status == RUNNING)
    assert [(job.id, job.status, job.position) for job in jobs.all()] == [
        ("a", RUNNING, 0), ("b", QUEUED, 1), ("c", QUEUED, 2),
    ]  # fmt: skip
    assert jobs.count_waiting() == 2
    gate.set()
    done = ended(jobs, "c")
    assert order == [("b", {"name": "b"}), ("c", {"name": "c"})]
    assert done.created
    assert done.ended
    assert done.created < done.ended
    assert jobs.count_waiting() == 0


def test_the_same_id_is_queued_once(path: Path) -> None:
    gate, runs = threading.Event(), []

    def work(*_: object) -> None:
        gate.wait()
        runs.append(1)

    jobs = Jobs(path, 8, {"work": work})
    for _ in range(3):
        jobs.submit("a", "work", {})
    gate.set()
    ended(jobs, "a")
    assert runs == [1]
    jobs.submit("a", "work", {})
    until(lambda: runs == [1, 1])


def test_work_with_more_to_do_lets_others_go_first(path: Path) -> None:
    gate, order = threading.Event(), []

    def long(job_id: str, request: object) -> object:
        gate.wait()
        order.append(job_id)
        return True if order.count(job_id) < 4 else None

    jobs = Jobs(path, 8, {"long": long, "short": lambda job_id, request: order.append(job_id)})
    jobs.submit("a", "long", {})
    until(lambda: jobs.get("a").status == RUNNING)
    jobs.submit("b", "short", {})
    jobs.submit("c", "long", {})
    gate.set()
    ended(jobs, "a")
    ended(jobs, "c")
    assert order == ["a", "b", "c", "a", "c", "a", "c", "a", "c"]
    assert jobs.submit("d", "short", {}).status != FAILED


def test_a_full_queue_refuses_more_jobs(path: Path) -> None:
    gate = threading.Event()
    jobs = Jobs(path, 1, {"wait": lambda *_: gate.wait() and None})
    jobs.submit("a", "wait", {})
    until(lambda: jobs.get("a").status == RUNNING)
    jobs.submit("b", "wait", {})
    with pytest.raises(QueueFull, match="1 requests are already waiting"):
        jobs.submit("c", "wait", {})
    gate.set()


def test_a_failed_job_does_not_stop_the_worker(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def ours(*_: object) -> None:
        raise InvalidRequest("Change the request.")

    def unforeseen(*_: object) -> None:
        raise ZeroDivisionError

    jobs = Jobs(path, 8, {"ours": ours, "unforeseen": unforeseen, "fine": lambda *_: None})
    for name in ("ours", "unforeseen", "fine"):
        jobs.submit(name, name, {})
    assert ended(jobs, "fine").status == DONE
    assert (jobs.get("ours").error, jobs.get("ours").code) == ("Change the request.", "invalid_request")
    assert jobs.get("unforeseen").code == "internal"
    assert "ZeroDivisionError" in caplog.text


def test_the_worker_first_loads_the_model(path: Path) -> None:
    gate, order = threading.Event(), []
    jobs = Jobs(path, 8, {"note": lambda *_: order.append("job")})

    def load() -> None:
        gate.wait()
        order.append("model")

    jobs.start(lambda lock: jobs.work(load))
    until(lambda: [job.id for job in jobs.all()] == [WARM_UP])
    assert jobs.submit("a", "note", {}).position == 1
    gate.set()
    ended(jobs, "a")
    assert order == ["model", "job"]


def test_several_jobs_run_at_once(path: Path) -> None:
    """Each waits for the others, so they finish only if all run at the same time."""
    together = threading.Barrier(3)
    jobs = Jobs(path, 8, {"meet": lambda *_: together.wait(20)})
    jobs.start(lambda lock: jobs.work(n_threads=3))
    for name in "abc":
        jobs.submit(name, "meet", {})
    assert [ended(jobs, name).status for name in "abc"] == [DONE] * 3


def test_old_jobs_are_deleted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FINISHED_JOBS", 3)
    jobs = Jobs(path, 8, {"nothing": lambda *_: None})
    for number in range(6):
        jobs.submit(str(number), "nothing", {})
        ended(jobs, str(number))
    assert [job.id for job in jobs.all()] == ["3", "4", "5"]


def test_an_unknown_job(path: Path) -> None:
    jobs = Jobs(path, 1, {})
    with pytest.raises(UnknownJob):
        jobs.get("nothing")
    assert (jobs.all(), jobs.count_waiting(), path.exists()) == ([], 0, False)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(SiteReadOnly, match="Cannot write the job queue"):
        Jobs(tmp_path / "cache" / "queue.sqlite", 1, {}).submit("a", "x", {})


PROCESS = """
import os, sys, time
from pathlib import Path
from trackserver.jobs.queue import Jobs

path = Path(sys.argv[1])

def work(job_id, request):
    (path.parent / f"{job_id}-{os.getpid()}").touch()
    while (path.parent / "closed").exists():
        time.sleep(0.005)

jobs = Jobs(path, 8, {"work": work})
jobs.start()
print(os.getpid(), flush=True)
for line in sys.stdin:
    jobs.submit(line.strip(), "work", {})
    print("queued", flush=True)
"""


def test_processes_share_a_queue_and_one_takes_over_from_another(path: Path) -> None:
    gate = path.parent / "closed"
    gate.touch()
    here = Jobs(path, 8, {})  # reads the queue, as a third process would
    command = [sys.executable, "-c", PROCESS, str(path)]
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

        (first,) = path.parent.glob("a-*")
        at_work = int(first.name.partition("-")[2])
        os.kill(at_work, signal.SIGKILL)
        until(lambda: len(list(path.parent.glob("a-*"))) == 2)
        gate.unlink()
        assert [ended(here, name).status for name in "abcd"] == [DONE] * 4
        (other,) = {process.pid for process in processes} - {at_work}
        assert {path.name for path in path.parent.glob("[bcd]-*")} == {f"{name}-{other}" for name in "bcd"}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_job_that_keeps_ending_its_process_fails(path: Path) -> None:
    script = PROCESS.replace("    while", "    os._exit(9)\n    while")
    for sent in ("a\n", ""):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        process.stdin.write(sent)
        process.stdin.flush()
        assert process.wait(20) == 9
        process.stdin.close()
    assert Jobs(path, 1, {}).get("a").status == RUNNING
    third = Jobs(path, 1, {})
    third.start()
    assert "memory" in ended(third, "a").error
