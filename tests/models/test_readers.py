"""Weight files of every format, whole and honest, cut short, and hostile. Nothing of theirs runs."""

from __future__ import annotations

import pickle
import shutil
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trackserver.errors import DataError
from trackserver.models import keras, weights
from trackserver.models.weights import Fit, Weights

STATE = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(4, dtype=torch.float64))


class Runs:
    """What unpickling this would do: write a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "it ran")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.ReLU(), nn.Conv1d(3, 2, 1)))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [None, "state_dict", "model_state_dict"])
def test_a_state_dict(tmp_path: Path, legacy: bool, wrapped: str | None) -> None:
    kept = STATE if wrapped is None else {"epoch": 3, wrapped: STATE}
    torch.save(kept, tmp_path / "w", _use_new_zipfile_serialization=not legacy)
    found = weights.read(tmp_path / "w").tensors
    assert list(found) == ["a", "b"]
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_pickled_module_gives_its_tensors_and_runs_none_of_its_code(tmp_path: Path, wrapped: bool) -> None:
    module = network()
    torch.save({"model": module} if wrapped else module, tmp_path / "w")
    found = weights.read(tmp_path / "w").tensors
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


def test_a_whole_module_of_old_torch_is_refused(tmp_path: Path) -> None:
    """Its reader would have to check source code against classes: torch offers no way to read it safely."""
    torch.save(network(), tmp_path / "w", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"torch before 1\.6\. Ask for the state dict alone"):
        weights.read(tmp_path / "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path, legacy: bool) -> None:
    marker = tmp_path / "marker"
    torch.save({"a": STATE["a"], "b": Runs(marker)}, tmp_path / "w", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match=r"refused: reading it would run \w+\. Ask for the state dict alone"):
        weights.read(tmp_path / "w")
    (tmp_path / "plain").write_bytes(pickle.dumps(Runs(marker), protocol=2))
    with pytest.raises(DataError):
        weights.read(tmp_path / "plain")
    assert not marker.exists()
    torch.load(tmp_path / "w", weights_only=False)  # what another reader would have done
    assert marker.read_text() == "it ran"


def test_a_class_that_only_looks_like_a_networks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"\x80\x02ctorch.nn.modules_evil\nrun\n)R.")
    with pytest.raises(DataError):
        weights.read(tmp_path / "w")


@pytest.mark.parametrize("keep", [20, 200, 500, -30])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_file_cut_short(tmp_path: Path, legacy: bool, keep: int) -> None:
    torch.save(STATE, tmp_path / "whole", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "w").write_bytes((tmp_path / "whole").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"may be truncated|without weights|no weight file"):
        weights.read(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x80\x02]q\x00."])
def test_what_is_no_weight_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path / "w")):
        weights.read(tmp_path / "w")
    with pytest.raises(DataError, match="no weights to read"):
        weights.read(tmp_path / "nowhere")


def test_safetensors(tmp_path: Path) -> None:
    save_file(dict(STATE), tmp_path / "w")
    assert torch.equal(weights.read(tmp_path / "w").tensors["a"], STATE["a"])


def keras_file(path: Path, *, root: bool = False, chunks: bool = False) -> np.ndarray:
    """Two layers listed against the alphabet; one stored compressed."""
    kernel = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    with h5py.File(path, "w") as file:
        group = file if root else file.create_group("model_weights")
        names = [b"input", b"zeta", b"alpha"]
        if chunks:
            group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:1], names[1:]
        else:
            group.attrs["layer_names"] = names
        for layer in names:
            group.create_group(layer.decode()).attrs["weight_names"] = []
        group["zeta"].attrs["weight_names"] = [b"zeta/kernel:0"]
        group["zeta"].create_dataset("zeta/kernel:0", data=kernel)
        group["alpha"].attrs["weight_names"] = [b"alpha/bias:0"]
        group["alpha"].create_dataset("alpha/bias:0", data=kernel[0, 0], compression="gzip")
        if not root:
            file.attrs["model_config"] = '{"config": {"layers": [{"class_name": "GELU", "config": {"name": "g"}}]}}'
    return kernel


@pytest.mark.parametrize("options", [{}, {"root": True}, {"chunks": True}])
def test_keras_layers_come_in_their_own_order(tmp_path: Path, options: dict[str, bool]) -> None:
    kernel = keras_file(tmp_path / "w", **options)
    found = weights.read(tmp_path / "w")
    assert list(found.tensors) == ["zeta/kernel:0", "alpha/bias:0"]
    np.testing.assert_array_equal(found.tensors["zeta/kernel:0"].numpy(), kernel)
    np.testing.assert_array_equal(found.tensors["alpha/bias:0"].numpy(), kernel[0, 0])
    assert keras.activations(found.settings) == (set() if "root" in options else {"GELU"})


def test_keras_files_that_lead_to_others_are_refused(tmp_path: Path) -> None:
    keras_file(tmp_path / "secret")
    keras_file(tmp_path / "linked")
    with h5py.File(tmp_path / "linked", "a") as file:
        file["model_weights/zeta/x"] = h5py.ExternalLink(str(tmp_path / "secret"), "/model_weights/zeta")
    keras_file(tmp_path / "stored")
    with h5py.File(tmp_path / "stored", "a") as file:
        file.create_dataset("x", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])
    keras_file(tmp_path / "virtual")
    with h5py.File(tmp_path / "virtual", "a") as file:
        layout = h5py.VirtualLayout((3, 4, 2), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret"), "model_weights/zeta/zeta/kernel:0", (3, 4, 2))
        file.create_virtual_dataset("x", layout)
    for name in ("linked", "stored", "virtual"):
        with pytest.raises(DataError, match=r"is refused: .*another file"):
            weights.read(tmp_path / name)


def test_a_keras_file_whose_groups_hold_themselves_is_read(tmp_path: Path) -> None:
    kernel = keras_file(tmp_path / "circle")
    with h5py.File(tmp_path / "circle", "a") as file:
        file["model_weights/zeta/again"] = file["model_weights"]
    np.testing.assert_array_equal(weights.read(tmp_path / "circle").tensors["zeta/kernel:0"].numpy(), kernel)


@pytest.mark.parametrize("keep", [9, 100, 2000, -8])
def test_a_keras_file_cut_short(tmp_path: Path, keep: int) -> None:
    keras_file(tmp_path / "whole")
    (tmp_path / "w").write_bytes((tmp_path / "whole").read_bytes()[:keep])
    with pytest.raises(DataError, match="truncated"):
        weights.read(tmp_path / "w")


def test_hdf5_that_is_not_keras(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(DataError, match="lists no layers"):
        weights.read(tmp_path / "w")
    keras_file(tmp_path / "text")
    with h5py.File(tmp_path / "text", "a") as file:
        del file["model_weights/zeta/zeta/kernel:0"]
        file["model_weights/zeta/zeta/kernel:0"] = np.array([1, 2])
    with pytest.raises(DataError, match="not floating-point"):
        weights.read(tmp_path / "text")


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def checkpoint(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    """A TensorFlow V2 checkpoint by the book: keys that share beginnings, one data block, one shard."""
    data, entries = b"", {b"": field(1, 1)}
    tensors = {name: values.astype("<f4") for name, values in tensors.items()}
    for name in sorted(tensors):
        shape = b"".join(field(2, field(1, size)) for size in tensors[name].shape)
        entries[name.encode()] = (
            field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, tensors[name].nbytes) + b"\x35" + b"\0" * 4
        )
        data += tensors[name].tobytes()
    block, last = b"", b""
    for key, value in entries.items():
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    block += struct.pack("<II", 0, 1)
    index = varint(0) + varint(1) + varint(len(varint(0) + varint(len(block)))) + b"z" + varint(0) + varint(len(block))
    index += struct.pack("<II", 0, 1)
    trailer = b"\0" + b"\0" * 4  # not compressed; a checksum nobody reads
    meta = struct.pack("<II", 0, 1)
    at_meta = len(block) + 5
    at_index = at_meta + len(meta) + 5
    footer = varint(at_meta) + varint(len(meta)) + varint(at_index) + varint(len(index))
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(block + trailer + meta + trailer + index + trailer + footer)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


@pytest.mark.parametrize("asked", ["m.tf", "m.tf.index", "m.tf.data-00000-of-00001"])
def test_a_tensorflow_checkpoint_by_any_of_its_names(tmp_path: Path, asked: str) -> None:
    tensors = {"cnn0/kernel": np.arange(12.0).reshape(3, 4), "cnn0/bias": np.ones(300), "step": np.array(7.0)}
    checkpoint(tmp_path / "m.tf", tensors)
    found = weights.read(tmp_path / asked).tensors
    assert list(found) == sorted(tensors)
    for name, expected in tensors.items():
        np.testing.assert_array_equal(found[name].numpy(), expected.astype(np.float32))


def test_a_tensorflow_checkpoint_that_is_not_whole(tmp_path: Path) -> None:
    checkpoint(tmp_path / "m", {"x": np.arange(12.0)})
    shard = tmp_path / "m.data-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-4])
    with pytest.raises(DataError, match="truncated: x should end at byte 48"):
        weights.read(tmp_path / "m")
    shard.unlink()
    with pytest.raises(DataError, match=r"needs m\.data-00000-of-00001 beside it"):
        weights.read(tmp_path / "m")
    shard.write_bytes(whole)
    index = (tmp_path / "m.index").read_bytes()
    for keep in (0, 20, len(index) - 1):
        (tmp_path / "m.index").write_bytes(index[:keep])
        with pytest.raises(DataError, match="not a complete TensorFlow checkpoint index"):
            weights.read(tmp_path / "m")
    for at in range(len(index)):  # any byte wrong: read, or a sentence
        (tmp_path / "m.index").write_bytes(index[:at] + bytes([index[at] ^ 0xFF]) + index[at + 1 :])
        try:
            weights.read(tmp_path / "m")
        except DataError:
            continue


def test_files_are_mapped_not_copied(tmp_path: Path, parity: Path) -> None:
    """What is not taken is not read: a tensor changes with the file beneath it."""
    shutil.copy(parity / "basenji2" / "tiny2020.h5", tmp_path / "w.h5")
    found = weights.read(tmp_path / "w.h5").tensors["dense/kernel:0"]
    with h5py.File(tmp_path / "w.h5") as file:
        offset = file["model_weights/dense/dense/kernel:0"].id.get_offset()
    with (tmp_path / "w.h5").open("r+b") as file:
        file.seek(offset)
        file.write(np.float32(42).tobytes())
    assert found[0, 0] == 42


def test_fit_names_the_first_layer_that_differs(tmp_path: Path) -> None:
    content = Weights(
        tmp_path / "f", {"a": torch.zeros(3, 4), "c/kernel:0": torch.zeros(2), "c/bias:0": torch.zeros(1)}
    )
    fit = Fit(content, "Basset")
    with pytest.raises(DataError, match=r"f does not fit Basset: a should have shape \(any, 5\) but has \(3, 4\)"):
        fit.take("a", None, 5)
    fit = Fit(content, "Basset")
    with pytest.raises(DataError, match=r"it has no b \(expected \(any, 7\)\); its first unused tensor is a \(3, 4\)"):
        fit.take("b", None, 7)
    assert fit.take("a", None, 4).shape == (3, 4)
    with pytest.raises(DataError, match=r"its layer c should have kernel \(any\), gamma \(2\) but has kernel"):
        fit.take_layer(kernel=(None,), gamma=(2,))
    kernel, bias = fit.take_layer(kernel=(None,), bias=(1,))
    assert (kernel.shape, bias.shape) == ((2,), (1,))
    with pytest.raises(DataError, match="its layers end where one with kernel"):
        fit.take_layer(kernel=(1,))
    fit.check_all_taken()
    with pytest.raises(DataError, match=r"also holds a \(3, 4\), which the network does not have"):
        Fit(content, "Basset").check_all_taken()
    fit = Fit(content, "Basset")
    fit.ignore("^c/")
    fit.ignore("^a$")
    fit.check_all_taken()
