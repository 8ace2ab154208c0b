"""Models that this process holds ready, and what is kept of the references they have read."""

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

_loading = threading.Lock()


def predictor(site: Site, model: str, weights_sha256: str, tracks: tuple[int, ...], how: Ensemble) -> Predictor:
    """The model, loaded once; its weights' checksum is part of the key, so a new file is a new model."""
    from trackserver.predict.engine import load_predictor

    key = (site.models, model, weights_sha256, tracks, how, site.settings.device)
    with _loading:
        held = _predictors(site.settings.models_in_memory)
        if key not in held:
            held[key] = load_predictor(
                site.models, model, tracks=tracks, device=site.settings.device, batch_size=2, ensemble=how
            )
        return held[key]


def cones(site: Site) -> Cones:
    """What is kept of references, within the site's bound of memory."""
    return _cones(site.settings.reference_cache_mb << 20)


@cache
def _predictors(most: int) -> LRUCache[object, Predictor]:
    return LRUCache(most)


@cache
def _cones(most_bytes: int) -> Cones:
    from trackserver.cone.cone import Cones

    return Cones(most_bytes)
