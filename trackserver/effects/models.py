"""The loaded models of this process, and their caches of reference activations."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from cachetools import LRUCache

from trackserver.catalogue.site import Site
from trackserver.predict.ensemble import Ensemble

if TYPE_CHECKING:
    from trackserver.cone.cone import Cones
    from trackserver.predict.engine import Predictor

_lock = threading.Lock()


def predictor(site: Site, model: str, weights_sha256: str, tracks: tuple[int, ...], ensemble: Ensemble) -> Predictor:
    """The predictor of a model, loaded once. The weights' checksum is part of the key: a new file is a new model."""
    from trackserver.predict.engine import load_predictor

    key = (site.models, model, weights_sha256, tracks, ensemble, site.settings.device)
    with _lock:
        cached = _predictors(site.settings.models_in_memory)
        if key not in cached:
            cached[key] = load_predictor(
                site.models, model, tracks=tracks, device=site.settings.device, batch_size=2, ensemble=ensemble
            )
        return cached[key]


def cones(site: Site) -> Cones:
    """The cache of reference activations, within the site's memory limit."""
    return _cones(site.settings.reference_cache_mb << 20)


@cache
def _predictors(max_models: int) -> LRUCache[object, Predictor]:
    return LRUCache(max_models)


@cache
def _cones(max_bytes: int) -> Cones:
    from trackserver.cone.cone import Cones

    return Cones(max_bytes)
