from __future__ import annotations

import threading
import time

import pytest

from trackserver.errors import InvalidRequest, QueueFull, UnknownJob
from trackserver.jobs import DONE, FAILED, QUEUED, RUNNING, Job, Jobs


def ended(jobs: Jobs, job_id: str) -> Job:
    deadline = time.monotonic() + 10
    while (job := jobs.get(job_id)).status not in (DONE, FAILED):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return job


def test_jobs_wait_in_order_and_say_where_they_are() -> None:
    jobs, gate, order = Jobs(length=8), threading.Event(), []
    jobs.submit("a", gate.wait)
    for name in "bc":
        jobs.submit(name, lambda name=name: order.append(name))
    while jobs.get("a").status == QUEUED:
        time.sleep(0.001)
    assert [(job.id, job.status, job.position) for job in jobs.all()] == [
        ("a", RUNNING, 0), ("b", QUEUED, 1), ("c", QUEUED, 2),
    ]  # fmt: skip
    gate.set()
    ended(jobs, "c")
    assert order == ["b", "c"]


def test_the_same_id_is_joined_not_repeated() -> None:
    jobs, gate, runs = Jobs(length=8), threading.Event(), []
    for _ in range(3):
        jobs.submit("a", lambda: (gate.wait(), runs.append(1)))
    gate.set()
    ended(jobs, "a")
    assert runs == [1]
    jobs.submit("a", lambda: runs.append(1))
    time.sleep(0.05)
    assert runs == [1, 1]


def test_a_full_queue_is_said() -> None:
    jobs, gate = Jobs(length=1), threading.Event()
    jobs.submit("a", gate.wait)
    while jobs.get("a").status == QUEUED:
        time.sleep(0.001)
    jobs.submit("b", gate.wait)
    with pytest.raises(QueueFull, match="1 questions are waiting"):
        jobs.submit("c", gate.wait)
    gate.set()


def test_a_failure_is_kept_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    jobs = Jobs(length=8)

    def ours() -> None:
        raise InvalidRequest("Ask differently.")

    def unforeseen() -> None:
        raise ZeroDivisionError

    jobs.submit("ours", ours)
    jobs.submit("unforeseen", unforeseen)
    jobs.submit("fine", lambda: None)
    assert ended(jobs, "fine").status == DONE
    assert (jobs.get("ours").error, jobs.get("ours").code) == ("Ask differently.", "invalid_request")
    assert jobs.get("unforeseen").code == "internal"
    assert "ZeroDivisionError" in caplog.text


def test_an_unknown_job() -> None:
    with pytest.raises(UnknownJob):
        Jobs(length=1).get("nothing")
