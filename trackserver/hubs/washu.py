"""A datahub for the WashU Epigenome Browser.

Format: https://epgg.github.io.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.hubs.hub import HEIGHT, HubTrack


def make_datahub(tracks: Sequence[HubTrack]) -> list[dict[str, Any]]:
    """Make a datahub of tracks on one assembly."""
    return [
        {
            "type": track.record.filetype, "name": track.record.name, "url": track.url,
            "showOnHubLoad": track.is_shown, "options": {"color": track.colour, "height": HEIGHT},
            "metadata": track.facets,
        }
        for track in tracks
    ]  # fmt: skip
