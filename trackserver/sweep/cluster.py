"""Run a sweep on a Ray cluster: one worker per GPU predicts chunks, and the results stream back.

If a worker is lost, another is started and its chunk is predicted again. The driver process saves the chunks, so that a
run on a cluster can be resumed like any other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import TrackserverError, Unavailable
from trackserver.genome.sequence import Genome
from trackserver.predict.engine import Predictor
from trackserver.predict.ray import WorkerShare, allocate_workers, check_shared_path, import_ray
from trackserver.sweep.plan import Plan
from trackserver.sweep.run import Producer, Tick, predict_chunks

MAX_LOST_WORKERS = 3  # in a row at the same chunk, or at the start
POLL_S = 0.5  # between checks whether the sweep was stopped

Load = Callable[[str], Predictor]  # loads the model onto `cpu` or `cuda`
_log = logging.getLogger(__name__)


class Worker:
    """A predictor on a node of the cluster, which predicts chunks of a plan."""

    def __init__(self, device: str, load: Load, genome: Genome, plan: Plan, site: Path):
        self._device, self._load, self._genome, self._plan, self._site = device, load, genome, plan, site

    def ready(self) -> None:
        """Load the model; raises `DataError` if the node does not find the site or the FASTA."""
        for path in (self._site, self._genome.path):
            check_shared_path(path)
        self._predictor  # noqa: B018

    @cached_property
    def _predictor(self) -> Predictor:
        return self._load(self._device)

    def predict(self, number: int) -> NDArray[np.float32]:
        """Predict a chunk, float32 (T, bins), as `predict_chunks` does."""
        ((_, values),) = predict_chunks(self._predictor, self._genome, self._plan, [number])
        return values


def on_cluster(load: Load, genome: Genome, plan: Plan, site: Path, workers: int | None = None) -> Producer:
    """A producer of chunks on the cluster that this process is connected to.

    Parameters
    ----------
    load
        Loads a worker's predictor; it is sent to the nodes, together with genome and plan.
    site
        A folder that all nodes share.
    workers
        As in `allocate_workers`.

    Raises
    ------
    TrackserverError
        Raised by the producer: an error of a worker, or `Unavailable` if worker after worker is lost.
    """

    def produce(numbers: Iterable[int], tick: Tick) -> Iterator[tuple[int, NDArray[np.float32]]]:
        try:
            with closing(_Crew(allocate_workers(workers), plan, load, genome, plan, site)) as crew:
                for number, values in crew.predict(iter(numbers), lambda: tick(0, 0)):
                    tick(*plan.chunk_size(number))
                    yield number, values
        except ConnectionError as error:
            raise Unavailable(
                "The connection to the Ray cluster is lost. Finished chunks are kept; continue with --resume."
            ) from error

    return produce


class _Crew:
    """The workers and their tasks: each predicts a chunk, or starts (None)."""

    def __init__(self, share: WorkerShare, plan: Plan, *work: Any):
        ray = import_ray()
        self._worker, self._plan = ray.remote(**share.resources)(Worker), plan
        self._work = [share.device, *(ray.put(part) for part in work)]
        self._workers: set[Any] = set()
        self._tasks: dict[Any, tuple[Any, int | None]] = {}  # (worker, chunk) by the reference to its result
        self._retries: list[int] = []
        self._lost: Counter[int | None] = Counter()
        self._all_assigned = False
        for _ in range(min(share.workers, len(plan.chunks))):
            self._start()

    def close(self) -> None:
        if import_ray().is_initialized():  # otherwise Ray would start a new cluster
            for worker in self._workers:
                import_ray().kill(worker)

    def predict(
        self, numbers: Iterator[int], check_stopped: Callable[[], object]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Predict chunks in any order; `check_stopped` is called often, and may raise to end the sweep."""
        ray = import_ray()
        while self._has_work():
            done, _ = ray.wait(list(self._tasks), timeout=POLL_S)
            check_stopped()
            for result in done:
                worker, number = self._tasks.pop(result)
                try:
                    values = ray.get(result)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, TrackserverError) else error) from None
                except ray.exceptions.RayError as error:
                    self._replace(worker, number, error)
                    continue
                del self._lost[number]
                self._assign(worker, numbers)
                if number is not None:
                    yield number, values

    def _has_work(self) -> bool:
        """Whether chunks are left; workers that still wait for room on the cluster are not needed for the rest."""
        return bool(self._tasks) and not (
            self._all_assigned and all(number is None for _, number in self._tasks.values())
        )

    def _start(self) -> None:
        worker = self._worker.remote(*self._work)
        self._workers.add(worker)
        self._tasks[worker.ready.remote()] = worker, None

    def _assign(self, worker: Any, numbers: Iterator[int]) -> None:
        """Give the next chunk to an idle worker."""
        number = self._retries.pop() if self._retries else next(numbers, None)
        if number is None:
            self._all_assigned = True
        else:
            self._tasks[worker.predict.remote(number)] = worker, number

    def _replace(self, worker: Any, number: int | None, error: Exception) -> None:
        """Start another worker for one that was lost, and queue its chunk again."""
        self._lost[number] += 1
        if self._lost[number] == MAX_LOST_WORKERS:
            raise Unavailable(self._failure(number)) from error
        _log.warning("Lost a worker of the Ray cluster; starting another.")
        import_ray().kill(worker)
        self._workers.remove(worker)
        self._start()
        if number is not None:
            self._retries.append(number)
            self._all_assigned = False

    def _failure(self, number: int | None) -> str:
        if number is None:
            return (
                f"{MAX_LOST_WORKERS} workers of the Ray cluster ended while starting. Install the same trackserver on "
                "every node, and check that the nodes have enough memory for the model."
            )
        return (
            f"{MAX_LOST_WORKERS} workers of the Ray cluster ended one after the other at "
            f"{self._plan.chunks[number][0]}. They may lack memory: try a smaller --batch-size or fewer --tracks. "
            "Finished chunks are kept; continue with --resume."
        )
