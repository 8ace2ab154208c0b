from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def parity() -> Path:
    """Weights with the answers the original code gave."""
    if not (SHARED / "parity").is_dir():
        pytest.skip("no weights with known answers: the folder ../shared/parity is not beside the project")
    return SHARED / "parity"


@pytest.fixture(scope="session")
def labels() -> Path:
    """The published label tables."""
    if not (SHARED / "labels").is_dir():
        pytest.skip("no label tables: the folder ../shared/labels is not beside the project")
    return SHARED / "labels"
