"""Start Python processes that run this package's code, never code from the current folder."""

from __future__ import annotations

import sys


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of this package in a separate process.

    Plain `python -m` puts the current folder first on the path, so it would run a `numpy.py` or a `trackserver` found
    there.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
