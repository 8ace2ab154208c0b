"""A real server under load while its files are replaced, truncated and removed: benchmarks/load.py, short."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_files_change_under_load(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer that is no JSON, no bytes of no version, no version that is long gone; memory stays where it was."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from load import load

    result = load(clients=6, seconds=9, workers=workers, seed=workers)
    assert result["first_complaints"] == []
    assert result["tracebacks"] == 0
    assert set(result["faults"]) == {"replaced", "moved back", "truncated", "removed"}
    assert result["tiles"]["whole"] > 0
    assert result["tiles"]["errors"] > 0
    assert result["memory_growth"] <= 0.10
