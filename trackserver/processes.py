"""Python processes of our own, which find their code where this one does and never in the folder one stands in."""

from __future__ import annotations

import sys


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of this package in a process of its own.

    `python -m` alone puts the current folder first on the path, and so runs a `numpy.py` or a `trackserver` there.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
