import pytest

from trackserver.demo.generator import SyntheticGenome, generate

# The longest sum of the truth: neighbours, then flanks, the places of a motif and the bases of a cell.
TRUTH = 81 + 65 + 12 + 8
SMALL = {"chrS1": 96_000, "chrS2": 320_000, "chrS3": 192_000}


@pytest.fixture(scope="session")
def genome() -> SyntheticGenome:
    """The demo's own."""
    return generate()


@pytest.fixture(scope="session")
def small() -> SyntheticGenome:
    return generate(seed=3, sizes=SMALL)
