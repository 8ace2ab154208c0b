"""Loops compiled by numba, each compiled once and kept beside its module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(loop: Callable[..., Any]) -> Any:
    """Without Python's lock, and kept for other processes where there is a place to keep it."""
    try:
        return njit(cache=True, nogil=True)(loop)
    except RuntimeError:  # an installation that cannot be written to, and a user without a home: each process anew
        return njit(nogil=True)(loop)
