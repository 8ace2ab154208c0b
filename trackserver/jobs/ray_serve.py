"""Effects on a Ray cluster: a deployment of Ray Serve that holds the models and computes questions that come together.

What is computed is stored in the site, as elsewhere; between the processes go only questions, and what went wrong.
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
from trackserver.predict.ray import check_shared, connected, share, the_ray
from trackserver.variants.effect import Question

MOST_TOGETHER = 16  # questions computed at once by a replica
COLLECTED = 0.005  # seconds for which a question waits for others
MOST_TRIES = 3  # of a question, of which each has lost a replica
SEEN = 60.0  # seconds after which what another node has stored is seen here, on any file system


class Answers:
    """A replica: the site as a node sees it, and its models, of which each has one GPU or some processors."""

    def __init__(self, path: str, flags: Mapping[str, Any]):
        from ray import serve

        self._fault: TrackserverError | None = None
        self._together: Any = serve.batch(max_batch_size=MOST_TOGETHER, batch_wait_timeout_s=COLLECTED)(self.answered)
        try:
            check_shared(Path(path))
            self._site = Site(Path(path), **flags)
            if effects.default_model(self._site):
                effects.warm_up(self._site)
        except TrackserverError as error:
            self._fault = error  # whoever asks is told; Serve would only start another replica, and another

    async def __call__(self, effect_id: str, asked: dict[str, Any]) -> TrackserverError | None:
        """What is wrong with a question; None once its effect is stored."""
        fault: TrackserverError | None = self._fault or await self._together(effect_id, asked)
        return fault

    async def answered(self, ids: list[str], asked: list[dict[str, Any]]) -> list[TrackserverError | None]:
        """Of questions that were collected, in their order."""
        faults = await asyncio.to_thread(answered, self._site, dict(zip(ids, asked, strict=True)))
        return [faults.get(effect_id) for effect_id in ids]


def answered(site: Site, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, TrackserverError]:
    """Have the effects of questions, by id, computed together and stored; returns what is wrong with some of them."""
    faults: dict[str, TrackserverError] = {}
    questions = []
    for effect_id, words in asked.items():
        try:
            questions.append(effects.question_of(site, effect_id, words))
        except TrackserverError as error:
            faults[effect_id] = error
    for group in together([question for question in questions if not effects.stored(site, question.id)]):
        try:
            effects.compute_together(site, group)
        except TrackserverError as error:
            faults |= {question.id: error for question in group}
    return faults


def together(questions: Sequence[Question]) -> list[list[Question]]:
    """Those that can be computed at once: with one model, in the same way, and variants that share a window."""
    groups: dict[object, list[Question]] = {}
    for question in questions:
        groups.setdefault(_shared(question), []).append(question)
    return list(groups.values())


def _shared(question: Question) -> object:
    if question.full or any(variant.growth for variant in question.variants):
        return question.id
    return (
        question.model, question.weights_sha256, question.assembly, question.tracks, question.ensemble, question.window
    )  # fmt: skip


class Served:
    """A site's deployment, made when it is first needed, as the process that hands it questions knows it."""

    def __init__(self, site: Site):
        self.site, self._begun, self._handle = site, ExitStack(), None
        self._one_begins = threading.Lock()
        self.name = f"trackserver-{site.path.name}-{hashlib.sha256(str(site.path).encode()).hexdigest()[:8]}"

    def begin(self) -> Any:
        """Connect, and start the replicas; returns the deployment's handle.

        Raises
        ------
        Unavailable
            There is no such cluster.
        """
        with self._one_begins:
            if self._handle is None:
                self._begun.enter_context(connected(self.site.settings.cluster))
                self._handle = self._deploy()
                self._begun.callback(self._delete)
            return self._handle

    def end(self) -> None:
        """Stop the replicas, so that their GPUs are free for others."""
        with self._one_begins:
            self._handle = None
            self._begun.close()

    def answer(self, effect_id: str, asked: dict[str, Any]) -> None:
        """Have the effect of a question, as `ask` takes it, stored.

        Raises
        ------
        TrackserverError
            What is wrong with the question; `Unavailable` where replica after replica was lost.
        """
        for _ in range(MOST_TRIES):
            try:
                fault = self.begin().remote(effect_id, asked).result()
            except the_ray().exceptions.RayActorError:
                continue
            except ConnectionError as error:
                self.end()
                raise Unavailable("The Ray cluster cannot be reached any more; ask again in a minute.") from error
            if fault:
                raise fault
            self._wait_until_seen(effect_id)
            return
        raise Unavailable(
            f"{MOST_TRIES} replicas of the Ray cluster ended one after the other while they computed this; is there "
            "memory enough?"
        )

    def _deploy(self) -> Any:
        from ray import serve

        replicas, resources = share(self.site.settings.cluster_replicas)
        deployment: Any = serve.deployment(
            Answers, num_replicas=replicas, ray_actor_options=resources, max_ongoing_requests=4 * MOST_TOGETHER,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )  # fmt: skip
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled")  # questions come through the site's own server
        return serve.run(deployment.bind(str(self.site.path), self.site.flags), name=self.name, route_prefix=None)

    def _delete(self) -> None:
        from ray import serve

        if the_ray().is_initialized():  # else the cluster is lost, and Ray would begin another
            serve.delete(self.name)

    def _wait_until_seen(self, effect_id: str) -> None:
        """File systems that machines share show what is new after some seconds."""
        deadline = time.monotonic() + SEEN
        while not effects.stored(self.site, effect_id):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The cluster has stored the effect {effect_id}, but {self.site.effects} does not show it: it has "
                    "to be the same file system on all nodes."
                )
            time.sleep(0.05)
