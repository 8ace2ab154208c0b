"""A sample of the numeric tests, one case per architecture, with the instructions of older processors."""

from __future__ import annotations

import subprocess

import pytest

from tests.processors import LEVELS, Level, lacks, run
from trackserver.models.registry import architectures

SAMPLED = (*(f"tests/models/test_{name}.py" for name in ("shared_stride", *architectures())), "tests/cone/test_cone.py",
           "tests/test_tolerance.py")  # fmt: skip
# The cone, and float32 against float64.
OF_EACH = ("tests/cone/test_cone.py::test_it_says_what_two_full_predictions_say[{}-forward]",
           "tests/test_tolerance.py::test_a_run_is_within_half_of_it_of_float64[{}]")  # fmt: skip


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_numbers_are_the_same_at_each_instruction_level(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacks(level):
        pytest.skip(lacks(level))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each plugin takes a second to load
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["-v", "-m", "sample", "-p", "no:cacheprovider", *SAMPLED]
    done = run(level, arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    assert done.returncode == 0, done.stdout
    passed = {line.split(" PASSED")[0] for line in done.stdout.splitlines() if " PASSED" in line}
    for name in architectures():
        assert any(test.startswith(f"tests/models/test_{name}.py::") for test in passed), done.stdout
        assert {test.format(name) for test in OF_EACH} <= passed, done.stdout
