"""The first fault of a pydantic error, as a sentence."""

from __future__ import annotations

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """`tracks.3.mean: input should be a valid number`: the first thing wrong, for the end of a sentence."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{where}: {what}" if where else what
