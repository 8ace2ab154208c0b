"""Effects through Ray Serve, on a real Ray cluster of two workers on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_site
from tests.tolerance import assert_close
from trackserver.catalogue.site import Site
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import ReferenceMismatch, TrackserverError
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.jobs import ray_serve
from trackserver.jobs.ray_serve import RayBackend, Replica, compute_effects, group_by_window
from trackserver.predict.engine import load_predictor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),  # Ray Serve's own
]


class RecordingReplica(Replica):
    """Leaves a file in the site's cache for each batch: its process and how many questions it had."""

    async def compute_batch(self, ids: list[str], requests: list[dict[str, Any]]) -> list[TrackserverError | None]:
        (self._site.cache / f"batch-{os.getpid()}-{len(ids)}-{ids[0]}").touch()
        return await super().compute_batch(ids, requests)


def batches(site: Site) -> list[tuple[int, int]]:
    """(process, questions) of each batch."""
    return [tuple(map(int, path.name.split("-")[1:3])) for path in site.cache.glob("batch-*")]  # type: ignore[misc]


def substitutions(site: Site, first: int, n: int, step: int = 7) -> list[str]:
    """`n` variants, `step` bp apart."""
    reads = decode(site.reference("tiny").genome.codes(Locus("chrA", first, first + n * step)))[::step]
    return [f"chrA:{first + 1 + i * step}:{ref}:{'C' if ref != 'C' else 'T'}" for i, ref in enumerate(reads)]


def questions(site: Site, variants: list[str], **more: Any) -> dict[str, dict[str, Any]]:
    requests = [{"model": "random", "assembly": "tiny", "variants": [variant], **more} for variant in variants]
    return {effect_question(site, EffectRequest.from_fields(one)).id: one for one in requests}


@pytest.fixture(scope="module")
def backend(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[RayBackend]:
    """Two replicas."""
    site = make_site(tmp_path_factory.mktemp("served") / "site", files)
    backend = RayBackend(Site(site.path, cluster="local", cluster_replicas=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_serve, "Replica", RecordingReplica)
        backend.start()
    yield backend
    backend.stop()


def compute_at_once(backend: RayBackend, requests: dict[str, dict[str, Any]]) -> None:
    with ThreadPoolExecutor(len(requests)) as pool:
        list(pool.map(lambda one: backend.compute(*one), requests.items()))


def arrays(site: Site, effect_id: str) -> list[np.ndarray]:
    return [np.load(site.effects / effect_id / f"{name}.npy") for name in ("ref", "alt")]


def assert_alike(one: Site, other: Site, ids: Iterable[str]) -> None:
    module = load_predictor(one.models, "random").module
    for effect_id in ids:
        for computed, expected in zip(arrays(one, effect_id), arrays(other, effect_id), strict=True):
            assert_close(computed, expected, module)
        computed, expected = effects.stored_effect(one, effect_id), effects.stored_effect(other, effect_id)
        assert computed and expected
        assert_close(computed["impact"], expected["impact"], module, scale=max(1, expected["impact"]))
        assert [track["name"] for track in computed["tracks"]] == [track["name"] for track in expected["tracks"]]


def test_questions_that_come_at_once_are_computed_together(backend: RayBackend, site: Site) -> None:
    """The results equal those computed one by one in another site, without a cluster."""
    requests = questions(site, substitutions(site, 20_000, 24))
    for effect_id, fields in requests.items():
        effects.compute_request(site, effect_id, fields)
    compute_at_once(backend, requests)
    assert max(n for _, n in batches(backend.site)) > 1
    assert_alike(backend.site, site, requests)


def test_a_bad_question_fails_alone(backend: RayBackend, site: Site) -> None:
    """Errors survive pickling, also those whose constructors take more than a sentence."""
    requests = questions(site, substitutions(site, 30_000, 4))
    wrong = substitutions(site, 30_100, 1)[0].split(":")
    fields = {"model": "random", "assembly": "tiny", "variants": [":".join([*wrong[:2], wrong[3], wrong[2]])]}
    with ThreadPoolExecutor(5) as pool:
        refused = pool.submit(backend.compute, "0" * 20, fields)
        compute_at_once(backend, requests)
        with pytest.raises(ReferenceMismatch, match=r"tiny has .* there, not the REF of") as error:
            refused.result()
    assert error.value.code == "reference_mismatch"
    assert all(effects.stored_effect(backend.site, effect_id) for effect_id in requests)


def test_a_replica_that_is_killed_loses_no_question(backend: RayBackend) -> None:
    requests = questions(backend.site, substitutions(backend.site, 40_000, 48))
    before = len(batches(backend.site))
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(compute_at_once, backend, requests)
        while len(seen := batches(backend.site)) == before:
            time.sleep(0.001)
        os.kill(seen[-1][0], signal.SIGKILL)
        computing.result()
    assert all(effects.stored_effect(backend.site, effect_id) for effect_id in requests)


def test_questions_that_share_a_window_are_grouped(site: Site) -> None:
    near, far = substitutions(site, 20_000, 3), substitutions(site, 50_000, 1)
    ref = decode(site.reference("tiny").genome.codes(Locus("chrA", 20_000, 20_003)))
    deletion = f"chrA:20001:{ref}:{ref[0]}"
    requests = questions(site, [*near, *far, deletion]) | questions(site, near[:1], full=True)
    requests |= questions(site, near[1:2], ensemble=["rc"])
    read = [effect_question(site, EffectRequest.from_fields(fields)) for fields in requests.values()]
    assert sorted(len(group) for group in group_by_window(read)) == [1, 1, 1, 1, 3]
    assert compute_effects(site, requests) == {}
    other = site.reopen()
    assert all(effects.stored_effect(other, effect_id) for effect_id in requests)
