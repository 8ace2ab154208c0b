"""The same sweep on a Ray cluster: a worker a GPU, chunks as its tasks, what comes of them streamed back.

A chunk whose worker was lost is given to another, and another worker is started. The process that asked saves what is
computed, so that a run on a cluster is kept and resumed as any other.
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
from trackserver.predict.ray import Share, check_shared, share, the_ray
from trackserver.sweep.plan import Plan
from trackserver.sweep.run import Producer, Tick, predicted

MOST_LOST = 3  # workers in a row at the same chunk, or as they start
LOOK = 0.5  # seconds after which it is looked whether chunks are still wanted

Load = Callable[[str], Predictor]  # on `cpu` or `cuda`
_log = logging.getLogger(__name__)


class Worker:
    """A predictor on a node of the cluster, and what it says about chunks of a plan."""

    def __init__(self, device: str, load: Load, genome: Genome, plan: Plan, site: Path):
        self._device, self._load, self._genome, self._plan, self._site = device, load, genome, plan, site

    def ready(self) -> None:
        """Load the model; raises `DataError` where the site or the FASTA is not found."""
        for path in (self._site, self._genome.path):
            check_shared(path)
        self._predictor  # noqa: B018

    @cached_property
    def _predictor(self) -> Predictor:
        return self._load(self._device)

    def predicted(self, number: int) -> NDArray[np.float32]:
        """A chunk, as `genomewide.predicted` gives it."""
        ((_, values),) = predicted(self._predictor, self._genome, self._plan, [number])
        return values


def on_cluster(load: Load, genome: Genome, plan: Plan, site: Path, workers: int | None = None) -> Producer:
    """Predicts chunks on the cluster that this process is connected to.

    Parameters
    ----------
    load
        Gives a worker its predictor; it is sent to the nodes, as genome and plan are.
    site
        A folder that all nodes have to see.
    workers
        As in `share`.

    Raises
    ------
    TrackserverError
        While it is used: what went wrong at a worker; `Unavailable` where worker after worker was lost.
    """

    def produce(numbers: Iterable[int], tick: Tick) -> Iterator[tuple[int, NDArray[np.float32]]]:
        try:
            with closing(_Crew(share(workers), plan, load, genome, plan, site)) as crew:
                for number, values in crew.predicted(iter(numbers), lambda: tick(0, 0)):
                    tick(*plan.amount(number))
                    yield number, values
        except ConnectionError as error:
            raise Unavailable(
                "The Ray cluster cannot be reached any more. What was predicted is kept; go on with --resume."
            ) from error

    return produce


class _Crew:
    """Workers, and what each is at: a chunk, or None while it starts."""

    def __init__(self, share: Share, plan: Plan, *work: Any):
        ray = the_ray()
        self._worker, self._plan = ray.remote(**share.resources)(Worker), plan
        self._work = [share.device, *(ray.put(part) for part in work)]
        self._workers: set[Any] = set()
        self._at: dict[Any, tuple[Any, int | None]] = {}  # by what Ray will have when it is done
        self._again: list[int] = []
        self._lost: Counter[int | None] = Counter()
        self._all_given = False
        for _ in range(min(share.workers, len(plan.chunks))):
            self._start()

    def close(self) -> None:
        if the_ray().is_initialized():  # else the cluster is lost, and Ray would begin another
            for worker in self._workers:
                the_ray().kill(worker)

    def predicted(
        self, numbers: Iterator[int], look: Callable[[], object]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Chunks as they are done; `look` is called often, and may raise to end it."""
        ray = the_ray()
        while self._has_work():
            done, _ = ray.wait(list(self._at), timeout=LOOK)
            look()
            for one in done:
                worker, number = self._at.pop(one)
                try:
                    values = ray.get(one)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, TrackserverError) else error) from None
                except ray.exceptions.RayError as error:
                    self._replace(worker, number, error)
                    continue
                del self._lost[number]
                self._give(worker, numbers)
                if number is not None:
                    yield number, values

    def _has_work(self) -> bool:
        """Workers for which the cluster has no room never start; those that have are enough."""
        return bool(self._at) and not (self._all_given and all(number is None for _, number in self._at.values()))

    def _start(self) -> None:
        worker = self._worker.remote(*self._work)
        self._workers.add(worker)
        self._at[worker.ready.remote()] = worker, None

    def _give(self, worker: Any, numbers: Iterator[int]) -> None:
        """The next chunk to a worker that is free."""
        number = self._again.pop() if self._again else next(numbers, None)
        if number is None:
            self._all_given = True
        else:
            self._at[worker.predicted.remote(number)] = worker, number

    def _replace(self, worker: Any, number: int | None, error: Exception) -> None:
        """Another worker for one that was lost, whose chunk is given again."""
        self._lost[number] += 1
        if self._lost[number] == MOST_LOST:
            raise Unavailable(self._given_up(number)) from error
        _log.warning("A worker of the Ray cluster was lost; another is started.")
        the_ray().kill(worker)
        self._workers.remove(worker)
        self._start()
        if number is not None:
            self._again.append(number)
            self._all_given = False

    def _given_up(self, number: int | None) -> str:
        if number is None:
            return (
                f"{MOST_LOST} workers of the Ray cluster ended as they started. The same trackserver has to be "
                "installed on every node, and there has to be memory for the model."
            )
        return (
            f"{MOST_LOST} workers of the Ray cluster ended one after the other at {self._plan.chunks[number][0]}, as "
            "where memory runs out: try a smaller --batch-size, or fewer --tracks. What was predicted is kept; go on "
            "with --resume."
        )
