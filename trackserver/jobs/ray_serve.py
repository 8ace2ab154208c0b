"""Effects on a Ray cluster: Ray Serve replicas hold the models and compute questions that arrive together.

Results are stored in the site, as without a cluster; only requests and errors travel between the processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trackserver.catalogue.site import Site
from trackserver.effects import effects
from trackserver.errors import TrackserverError, Unavailable
from trackserver.predict.ray import allocate_workers, check_shared_path, import_ray, ray_connection
from trackserver.variants.effect import Question

MAX_BATCH = 16  # questions that a replica computes together
BATCH_WAIT_S = 0.005  # how long a question waits for others to join its batch
MAX_TRIES = 3  # for a question whose replica was lost
STORED_TIMEOUT_S = 60.0  # by then any shared file system shows what another node has stored


class Replica:
    """A Ray Serve replica: the site as its node sees it, with its models on one GPU or some processors."""

    def __init__(self, path: str, flags: Mapping[str, Any]):
        from ray import serve

        self._fault: TrackserverError | None = None
        batched = serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
        self._compute_batched: Any = batched(self.compute_batch)
        try:
            check_shared_path(Path(path))
            self._site = Site(Path(path), **flags)
            if effects.default_model(self._site):
                effects.warm_up(self._site)
        except TrackserverError as error:
            self._fault = error  # answered to every request; raised here, Serve would restart the replica for ever

    async def __call__(self, effect_id: str, request: dict[str, Any]) -> TrackserverError | None:
        """Compute and store one effect. Returns its error, or None once it is stored."""
        fault: TrackserverError | None = self._fault or await self._compute_batched(effect_id, request)
        return fault

    async def compute_batch(self, ids: list[str], requests: list[dict[str, Any]]) -> list[TrackserverError | None]:
        """Compute and store effects. Returns the error of each, or None, in their order."""
        faults = await asyncio.to_thread(compute_effects, self._site, dict(zip(ids, requests, strict=True)))
        return [faults.get(effect_id) for effect_id in ids]


def compute_effects(site: Site, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, TrackserverError]:
    """Compute and store the effects of requests, by id; returns the errors by id."""
    faults: dict[str, TrackserverError] = {}
    questions = []
    for effect_id, fields in requests.items():
        try:
            questions.append(effects.question_of(site, effect_id, fields))
        except TrackserverError as error:
            faults[effect_id] = error
    for group in group_by_window([question for question in questions if not effects.stored_effect(site, question.id)]):
        try:
            effects.compute_together(site, group)
        except TrackserverError as error:
            faults |= {question.id: error for question in group}
    return faults


def group_by_window(questions: Sequence[Question]) -> list[list[Question]]:
    """Group questions that can be computed together: same model, options and window, and no indel."""
    groups: dict[object, list[Question]] = {}
    for question in questions:
        groups.setdefault(_group_key(question), []).append(question)
    return list(groups.values())


def _group_key(question: Question) -> object:
    if question.full or any(variant.length_change for variant in question.variants):
        return question.id
    return (
        question.model, question.weights_sha256, question.assembly, question.tracks, question.ensemble, question.window
    )  # fmt: skip


class RayBackend:
    """The Ray Serve deployment of a site, started when first needed."""

    def __init__(self, site: Site):
        self.site, self._exit, self._handle = site, ExitStack(), None
        self._start_lock = threading.Lock()
        self.name = f"trackserver-{site.path.name}-{hashlib.sha256(str(site.path).encode()).hexdigest()[:8]}"

    def start(self) -> Any:
        """Connect to the cluster and start the replicas, if that is not done; returns the deployment's handle.

        Raises
        ------
        Unavailable
            There is no such cluster.
        """
        with self._start_lock:
            if self._handle is None:
                self._exit.enter_context(ray_connection(self.site.settings.cluster))
                self._handle = self._deploy()
                self._exit.callback(self._delete)
            return self._handle

    def stop(self) -> None:
        """Stop the replicas, so that others can use their GPUs."""
        with self._start_lock:
            self._handle = None
            self._exit.close()

    def compute(self, effect_id: str, request: dict[str, Any]) -> None:
        """Compute an effect on the cluster and store it in the site.

        Raises
        ------
        TrackserverError
            The request's own error, or `Unavailable` if one replica after the other was lost.
        """
        for _ in range(MAX_TRIES):
            try:
                fault = self.start().remote(effect_id, request).result()
            except import_ray().exceptions.RayActorError:
                continue
            except ConnectionError as error:
                self.stop()
                raise Unavailable("Lost the connection to the Ray cluster; try again in a minute.") from error
            if fault:
                raise fault
            self._wait_until_stored(effect_id)
            return
        raise Unavailable(
            f"{MAX_TRIES} replicas of the Ray cluster ended one after the other while computing this, perhaps because "
            "memory ran out."
        )

    def _deploy(self) -> Any:
        from ray import serve

        replicas, resources = allocate_workers(self.site.settings.cluster_replicas)
        deployment: Any = serve.deployment(
            Replica, num_replicas=replicas, ray_actor_options=resources, max_ongoing_requests=4 * MAX_BATCH,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )  # fmt: skip
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled")  # requests come through the site's own server
        return serve.run(deployment.bind(str(self.site.path), self.site.flags), name=self.name, route_prefix=None)

    def _delete(self) -> None:
        from ray import serve

        if import_ray().is_initialized():  # otherwise the cluster is lost, and Ray would start another
            serve.delete(self.name)

    def _wait_until_stored(self, effect_id: str) -> None:
        """Wait until this node sees the result: shared file systems show new files after some seconds."""
        deadline = time.monotonic() + STORED_TIMEOUT_S
        while not effects.stored_effect(self.site, effect_id):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The cluster has stored the effect {effect_id}, but it does not appear in {self.site.effects}; "
                    "that folder must be on a file system that all nodes share."
                )
            time.sleep(0.05)
