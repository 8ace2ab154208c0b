"""HDF5 files that lead to other files are refused, by whatever reads them, and nothing of the other file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from trackserver.errors import DataError, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.models import weights
from trackserver.sources.hdf5 import check_self_contained
from trackserver.tiles.matrix import check_matrix
from trackserver.tiles.multivec import check_multivec

ASSEMBLY = Assembly("tiny", ("chr1",), (1000,))
SECRET = np.arange(4, dtype=np.float32)


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("resolutions/a/b/x", (4,), "f4", external=[(str(secret), 0, 16)])


def external_link(file: h5py.File, secret: Path) -> None:
    file["resolutions/a/x"] = h5py.ExternalLink(str(secret), "/x")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
    file.create_virtual_dataset("resolutions/x", layout)


def soft_link_to_an_external_one(file: h5py.File, secret: Path) -> None:
    file["resolutions/x"] = h5py.SoftLink("/far/away")
    file["far/away"] = h5py.ExternalLink(str(secret), "/x")


READERS: dict[str, Callable[[Path], object]] = {
    "matrix": lambda path: check_matrix(path, ASSEMBLY),
    "multivec": lambda path: check_multivec(path, ASSEMBLY),
    "weights": weights.read,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", [external_storage, external_link, virtual, soft_link_to_an_external_one])
def test_a_file_that_leads_to_another_is_refused(
    reader: str, kind: Callable[[h5py.File, Path], None], tmp_path: Path
) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = SECRET
    with h5py.File(tmp_path / "m.mcool", "w") as file:
        kind(file, secret)
    secret.chmod(0)
    before = secret.stat().st_atime_ns
    with pytest.raises(DataError, match=r"m.mcool is refused: .* another file"):
        READERS[reader](tmp_path / "m.mcool")
    assert secret.stat().st_atime_ns == before


def test_links_within_a_file_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w", "w") as file:
        file["a/x"] = SECRET
        file["soft"] = h5py.SoftLink("/a/x")
        file["hard"] = file["a/x"]
        file["a/itself"] = file["a"]
    with h5py.File(tmp_path / "w") as file:
        check_self_contained("w", file)
        np.testing.assert_array_equal(file["soft"], SECRET)


def test_a_file_of_endless_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackserver.sources.hdf5.MAX_OBJECTS", 10)
    with h5py.File(tmp_path / "w", "w") as file:
        for number in range(11):
            file.create_group(str(number))
        with pytest.raises(UnreadableFile, match="more than 10 groups and datasets"):
            check_self_contained("w", file)


def test_the_cooler_whose_counts_are_another_files_bytes() -> None:
    path = Path(__file__).parents[2] / "shared" / "cases" / "hostile" / "extraw.mcool"
    if not path.exists():
        pytest.skip("the hostile files are not beside the project")
    with pytest.raises(UnreadableFile, match=r"extraw.mcool is refused: the data of its .* in another file"):
        check_matrix(path, ASSEMBLY)
