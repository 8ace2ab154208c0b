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
from trackserver.jobs.ray_serve import Answers, Served, answered, together
from trackserver.predict.engine import load_predictor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),  # Ray Serve's own
]


class Noted(Answers):
    """Which replica has had how many questions at once stands in the site's cache."""

    async def answered(self, ids: list[str], asked: list[dict[str, Any]]) -> list[TrackserverError | None]:
        (self._site.cache / f"batch-{os.getpid()}-{len(ids)}-{ids[0]}").touch()
        return await super().answered(ids, asked)


def batches(site: Site) -> list[tuple[int, int]]:
    """(process, questions) of each batch."""
    return [tuple(map(int, path.name.split("-")[1:3])) for path in site.cache.glob("batch-*")]  # type: ignore[misc]


def substitutions(site: Site, first: int, n: int, step: int = 7) -> list[str]:
    """As many variants, `step` bp apart."""
    reads = decode(site.reference("tiny").genome.codes(Locus("chrA", first, first + n * step)))[::step]
    return [f"chrA:{first + 1 + i * step}:{ref}:{'C' if ref != 'C' else 'T'}" for i, ref in enumerate(reads)]


def questions(site: Site, variants: list[str], **more: Any) -> dict[str, dict[str, Any]]:
    asked = [{"model": "random", "assembly": "tiny", "variants": [variant], **more} for variant in variants]
    return {effect_question(site, EffectRequest.from_fields(one)).id: one for one in asked}


@pytest.fixture(scope="module")
def served(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Served]:
    """Two replicas."""
    site = make_site(tmp_path_factory.mktemp("served") / "site", files)
    served = Served(Site(site.path, cluster="local", cluster_replicas=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_serve, "Answers", Noted)
        served.begin()
    yield served
    served.end()


def answer_at_once(served: Served, asked: dict[str, dict[str, Any]]) -> None:
    with ThreadPoolExecutor(len(asked)) as pool:
        list(pool.map(lambda one: served.answer(*one), asked.items()))


def arrays(site: Site, effect_id: str) -> list[np.ndarray]:
    return [np.load(site.effects / effect_id / f"{name}.npy") for name in ("ref", "alt")]


def assert_alike(one: Site, other: Site, ids: Iterable[str]) -> None:
    module = load_predictor(one.models, "random").module
    for effect_id in ids:
        for found, expected in zip(arrays(one, effect_id), arrays(other, effect_id), strict=True):
            assert_close(found, expected, module)
        found, expected = effects.stored(one, effect_id), effects.stored(other, effect_id)
        assert found and expected
        assert_close(found["impact"], expected["impact"], module, scale=max(1, expected["impact"]))
        assert [track["name"] for track in found["tracks"]] == [track["name"] for track in expected["tracks"]]


def test_questions_that_come_at_once_are_computed_together(served: Served, site: Site) -> None:
    """As one by one, in another site, without a cluster."""
    asked = questions(site, substitutions(site, 20_000, 24))
    for effect_id, words in asked.items():
        effects.answer(site, effect_id, words)
    answer_at_once(served, asked)
    assert max(n for _, n in batches(served.site)) > 1
    assert_alike(served.site, site, asked)


def test_what_is_wrong_with_one_is_said_and_the_others_are_answered(served: Served, site: Site) -> None:
    """Errors come back as they are, also those whose constructors want more than a sentence."""
    asked = questions(site, substitutions(site, 30_000, 4))
    wrong = substitutions(site, 30_100, 1)[0].split(":")
    words = {"model": "random", "assembly": "tiny", "variants": [":".join([*wrong[:2], wrong[3], wrong[2]])]}
    with ThreadPoolExecutor(5) as pool:
        refused = pool.submit(served.answer, "0" * 20, words)
        answer_at_once(served, asked)
        with pytest.raises(ReferenceMismatch, match=r"tiny reads .* there, not the REF of") as error:
            refused.result()
    assert error.value.code == "reference_mismatch"
    assert all(effects.stored(served.site, effect_id) for effect_id in asked)


def test_a_replica_that_is_killed_loses_no_question(served: Served) -> None:
    asked = questions(served.site, substitutions(served.site, 40_000, 48))
    known = len(batches(served.site))
    with ThreadPoolExecutor(1) as pool:
        all_of_them = pool.submit(answer_at_once, served, asked)
        while len(found := batches(served.site)) == known:
            time.sleep(0.001)
        os.kill(found[-1][0], signal.SIGKILL)
        all_of_them.result()
    assert all(effects.stored(served.site, effect_id) for effect_id in asked)


def test_only_what_shares_a_window_is_computed_together(site: Site) -> None:
    near, far = substitutions(site, 20_000, 3), substitutions(site, 50_000, 1)
    ref = decode(site.reference("tiny").genome.codes(Locus("chrA", 20_000, 20_003)))
    deletion = f"chrA:20001:{ref}:{ref[0]}"
    asked = questions(site, [*near, *far, deletion]) | questions(site, near[:1], full=True)
    asked |= questions(site, near[1:2], ensemble=["rc"])
    read = [effect_question(site, EffectRequest.from_fields(words)) for words in asked.values()]
    assert sorted(len(group) for group in together(site, read)) == [1, 1, 1, 1, 3]
    assert answered(site, asked) == {}
    other = site.reopened()
    assert all(effects.stored(other, effect_id) for effect_id in asked)
