"""How far long work is, told to whoever began it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, float], object]  # (done, in all): bytes, rows, bases, files
StageProgress = Callable[[float, str], object]  # (part done, 0 to 1; the stage)


def no_progress(done: float, total: float) -> None:
    """For whoever does not ask."""
