"""Run tests with the instructions of older x86-64 processors: `python -m tests.processors [LEVEL] TESTS`.

Libraries choose their arithmetic by the processor's instruction sets, so tests that pass on one processor may fail on
another. Environment variables, read when a process starts, make a newer processor work like an older one.
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
    """An instruction level, and its names in each library.

    flags : the names in /proc/cpuinfo
    torch : the name in `torch.backends.cpu.get_cpu_capability()`
    onednn, mkl, openblas : the names for these libraries; empty for the best that they support
    excluded : prefixes of the names of numpy's instruction sets above the level
    """

    name: str
    flags: frozenset[str]
    torch: str
    onednn: str = ""
    mkl: str = ""
    openblas: str = ""
    excluded: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that limit every library to the level."""
        above = [name for name in numpy_levels if name.startswith(self.excluded)] if self.excluded else []
        variables = {
            "ATEN_CPU_CAPABILITY": self.torch.lower(),
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "OPENBLAS_CORETYPE": self.openblas,
            "NPY_DISABLE_CPU_FEATURES": " ".join(above),
        }
        return {name: value for name, value in variables.items() if value}


LEVELS = (
    Level("SSE4.1", frozenset({"sse4_1"}), "DEFAULT", "SSE41", "SSE4_2", "Nehalem", ("AVX", "FMA", "X86_V3", "X86_V4")),
    Level("AVX2", frozenset({"avx2", "fma"}), "AVX2", "AVX2", "AVX2", "Haswell", ("AVX512", "X86_V4")),
    Level("AVX-512", frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}), "AVX512"),
)

# Starts pytest only if torch works at the level, so that no run passes at another level by mistake.
_START = """
import sys, pytest, torch
level, *arguments = sys.argv[1:]
actual = torch.backends.cpu.get_cpu_capability()
sys.exit(pytest.main(arguments) if actual == level else f"torch works at {actual}, not at {level}")
"""


def lacks(level: Level) -> str:
    """Explain why this processor cannot run tests at a level; empty if it can."""
    missing = sorted(level.flags - _flags())
    return f"This processor has no {level.name}: it lacks {', '.join(missing)}." if missing else ""


def run(level: Level, arguments: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run pytest at a level, in a separate process.

    Parameters
    ----------
    level
        A level that this processor supports.
    arguments
        Arguments for pytest.
    options
        Options for `subprocess.run`.
    """
    variables = {name for other in LEVELS for name in other.environment}
    environment = {name: value for name, value in os.environ.items() if name not in variables} | level.environment
    command = [sys.executable, "-c", _START, level.torch, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, text=True, **options)  # type: ignore[call-overload, no-any-return]


@cache
def _flags() -> frozenset[str]:
    """Return the processor's flags, as Linux names them; empty on other systems and processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def main(arguments: Sequence[str]) -> int:
    """Run tests at every level, or at the level given as the first argument; return 1 if a test failed."""
    chosen = [level for level in LEVELS if arguments[:1] == [level.name]]
    arguments, failed = arguments[len(chosen) :], False
    for level in chosen or LEVELS:
        print(f"--- {level.name}: {lacks(level) or ' '.join(arguments)}", flush=True)
        failed |= not lacks(level) and run(level, arguments).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
