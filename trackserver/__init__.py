"""Show predicted and observed genome tracks, and the effects of variants, in a web browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from higlass.tilesets import RemoteTileset

__version__ = "0.1.0"


def higlass(server: str) -> dict[str, RemoteTileset]:
    """Return a server's tilesets by uid, for notebooks; see `trackserver.notebook`."""
    from trackserver import notebook

    return notebook.higlass(server)
