"""Connect to a Ray cluster and divide its processors among workers."""

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


def import_ray() -> ModuleType:
    """Import Ray, which only runs on a cluster need."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise NeedsRay() from error
    return ray


@contextmanager
def ray_connection(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for the block, or keep the connection that this process already has.

    Parameters
    ----------
    address
        `ray://host:10001`; `auto` for the cluster this machine is a node of; `local` for a temporary cluster on this
        machine only.

    Raises
    ------
    Unavailable
        Ray is not installed, or there is no such cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no telemetry
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        with _keep_sigterm(), chdir("/"):  # Ray would put the current folder on its workers' import path
            ray.init(address, logging_level=logging.WARNING, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[-1].partition(". ")[0].rstrip(".")
        raise Unavailable(
            f"Cannot connect to a Ray cluster at '{address}': {reason}. Write "
            "ray://host:10001, auto on a node of the cluster, or local for this machine only. The cluster needs the "
            "same versions of Python and Ray as this machine."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _keep_sigterm() -> Iterator[None]:
    """Restore this process' SIGTERM handler after the block: Ray's would abort instead of shutting down in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


class WorkerShare(NamedTuple):
    """The number of workers, and the resources Ray gives each of them."""

    workers: int
    resources: dict[str, int]

    @property
    def device(self) -> str:
        return "cuda" if "num_gpus" in self.resources else "cpu"


def allocate_workers(workers: int | None = None) -> WorkerShare:
    """Give each worker a GPU (default: one per GPU) or, without GPUs, part of a node (default: one per node)."""
    ray = import_ray()
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        return WorkerShare(workers or gpus, {"num_gpus": 1})
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    nodes = [processors for processors in nodes if processors]
    if not nodes:
        raise Unavailable("The Ray cluster has neither GPUs nor processors; add nodes that have some.")
    workers = workers or len(nodes)
    workers_per_node = -(-workers // len(nodes))
    return WorkerShare(workers, {"num_cpus": max(1, min(nodes) // workers_per_node)})


def check_shared_path(path: Path) -> None:
    """Raise DataError if this node of the cluster does not see a file that all nodes should share."""
    if not path.exists():
        raise DataError(
            f"{socket.gethostname()}, a node of the Ray cluster, does not find {path}. The site and its FASTA have to "
            "lie on a file system that all nodes share, at the same path on each."
        )
