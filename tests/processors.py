"""The instruction levels of x86-64 processors, and tests run at them: `python -m tests.processors [LEVEL] TESTS`.

Libraries choose their arithmetic by what a processor has, so that tests which pass on one may fail on another. A newer
processor can be told to work as an older one does, by variables that are read once, when a process begins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__ as numpy_levels

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Level:
    """What a processor of the level has, and what each library calls it.

    flags : as /proc/cpuinfo names them
    torch : as `torch.backends.cpu.get_cpu_capability()` names it
    onednn, mkl, openblas : the names these libraries take; empty for the best they know
    left_out : how the names of numpy's instruction sets above the level begin
    """

    name: str
    flags: frozenset[str]
    torch: str
    onednn: str = ""
    mkl: str = ""
    openblas: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that hold every library to the level."""
        above = [name for name in numpy_levels if name.startswith(self.left_out)] if self.left_out else []
        named = {
            "ATEN_CPU_CAPABILITY": self.torch.lower(),
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "OPENBLAS_CORETYPE": self.openblas,
            "NPY_DISABLE_CPU_FEATURES": " ".join(above),
        }
        return {name: value for name, value in named.items() if value}


LEVELS = (
    Level("SSE4.1", frozenset({"sse4_1"}), "DEFAULT", "SSE41", "SSE4_2", "Nehalem", ("AVX", "FMA", "X86_V3", "X86_V4")),
    Level("AVX2", frozenset({"avx2", "fma"}), "AVX2", "AVX2", "AVX2", "Haswell", ("AVX512", "X86_V4")),
    Level("AVX-512", frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}), "AVX512"),
)

# Begins pytest only where torch works at the level, so that no run passes at another.
_BEGIN = """
import sys, pytest, torch
asked, *words = sys.argv[1:]
found = torch.backends.cpu.get_cpu_capability()
sys.exit(pytest.main(words) if found == asked else f"torch works at {found}, not at {asked}")
"""


def lacks(level: Level) -> str:
    """Say in a sentence why nothing can be run at a level here; empty if it can."""
    missing = sorted(level.flags - _flags())
    return f"This processor has no {level.name}: it lacks {', '.join(missing)}." if missing else ""


def run(level: Level, words: Sequence[str], **how: object) -> subprocess.CompletedProcess[str]:
    """Run pytest at a level in a process of its own.

    Parameters
    ----------
    level
        One that this processor has.
    words
        What pytest is told.
    how
        As `subprocess.run` takes it.
    """
    held = {name for other in LEVELS for name in other.environment}
    environment = {name: value for name, value in os.environ.items() if name not in held} | level.environment
    command = [sys.executable, "-c", _BEGIN, level.torch, *words]
    return subprocess.run(command, env=environment, cwd=ROOT, text=True, **how)  # type: ignore[call-overload, no-any-return]


@cache
def _flags() -> frozenset[str]:
    """What the processor has, by Linux' names; nothing where Linux or x86 is not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def main(words: Sequence[str]) -> int:
    """Run tests at every level, or at the one that is named first; return 1 if some failed."""
    chosen = [level for level in LEVELS if words[:1] == [level.name]]
    words, failed = words[len(chosen) :], False
    for level in chosen or LEVELS:
        print(f"--- {level.name}: {lacks(level) or ' '.join(words)}", flush=True)
        failed |= not lacks(level) and run(level, words).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
