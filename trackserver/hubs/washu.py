"""A datahub of the WashU Epigenome Browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.hubs.hub import HEIGHT, HubTrack


def washu(tracks: Sequence[HubTrack]) -> list[dict[str, Any]]:
    """A datahub for the WashU Epigenome Browser, of tracks of one assembly."""
    return [
        {
            "type": track.record.filetype, "name": track.record.name, "url": track.url,
            "showOnHubLoad": track.opened, "options": {"color": track.colour, "height": HEIGHT},
            "metadata": track.facets,
        }
        for track in tracks
    ]  # fmt: skip
