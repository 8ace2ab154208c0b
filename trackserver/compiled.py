"""Compile loops with numba, and cache the compiled code on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(loop: Callable[..., Any]) -> Any:
    """Compile a loop so that it runs without Python's lock; other processes reuse the compiled code if possible."""
    try:
        return njit(cache=True, nogil=True)(loop)
    except RuntimeError:  # neither the installation nor the home folder is writable: every process compiles for itself
        return njit(nogil=True)(loop)
