"""Turn pydantic validation errors into sentences."""

from __future__ import annotations

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Describe the first problem, for the end of a sentence: `tracks.3.mean: input should be a valid number`."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{field}: {message}" if field else message
