import sys
from pathlib import Path

import pytest

from trackserver.demo.generator import SyntheticGenome, generate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # for demo_evaluation

# The longest sum of the truth: neighbours, then flanks, the positions of a motif and the bases of a cell.
TRUTH = 81 + 65 + 12 + 8
SMALL = {"chrS1": 96_000, "chrS2": 320_000, "chrS3": 192_000}


@pytest.fixture(scope="session")
def genome() -> SyntheticGenome:
    """The genome of the demo site."""
    return generate()


@pytest.fixture(scope="session")
def small() -> SyntheticGenome:
    return generate(seed=3, sizes=SMALL)
