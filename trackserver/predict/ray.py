"""A Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from trackserver.errors import DataError, NeedsRay, Unavailable


def the_ray() -> ModuleType:
    """Ray, which is imported only by those who use a cluster."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise NeedsRay() from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """The Ray cluster at an address while it is used, or the one that this process is connected to already.

    Parameters
    ----------
    address
        `ray://host:10001`; `auto`, the cluster that this machine is a node of; `local`, one of this machine alone,
        which ends afterwards.

    Raises
    ------
    Unavailable
        Ray is not installed, or there is no such cluster.
    """
    ray = the_ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # that it is used here is told to nobody
    alone = {"include_dashboard": False} if address == "local" else {}
    try:
        with _own_sigterm(), chdir("/"):  # Ray puts the current folder onto the path of its workers
            ray.init(address, logging_level=logging.WARNING, **alone)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[-1].partition(". ")[0].rstrip(".")
        raise Unavailable(
            f"No Ray cluster can be used at '{address}': {reason}. Write "
            "ray://host:10001, auto on a node of the cluster, or local for this machine alone. Python and Ray have to "
            "be the same versions there as here."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray would abort where this process may want to end in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


class Share(NamedTuple):
    """How many workers, and what Ray gives each of them."""

    workers: int
    resources: dict[str, int]

    @property
    def device(self) -> str:
        return "cuda" if "num_gpus" in self.resources else "cpu"


def share(workers: int | None = None) -> Share:
    """A GPU for each worker, by default all there are; where there is none processors, by default a worker a node."""
    ray = the_ray()
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        return Share(workers or gpus, {"num_gpus": 1})
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    nodes = [processors for processors in nodes if processors]
    if not nodes:
        raise Unavailable("The Ray cluster has neither GPUs nor processors; add nodes that have.")
    workers = workers or len(nodes)
    on_a_node = -(-workers // len(nodes))
    return Share(workers, {"num_cpus": max(1, min(nodes) // on_a_node)})


def check_shared(path: Path) -> None:
    """Raise `DataError` where this node does not see what the others do."""
    if not path.exists():
        raise DataError(
            f"{socket.gethostname()}, a node of the Ray cluster, does not find {path}. The site and its FASTA have to "
            "lie on a file system that all nodes share, at the same path on each."
        )
