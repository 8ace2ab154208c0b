"""Types of the callbacks that report the progress of long operations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, float], object]  # (done, total), in bytes, rows, bases or files
StageProgress = Callable[[float, str], object]  # (fraction done, from 0 to 1; name of the stage)


def no_progress(done: float, total: float) -> None:
    """Ignore all progress reports."""
