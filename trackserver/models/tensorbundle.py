"""Read TensorFlow V2 checkpoints without TensorFlow: an index (a LevelDB table) beside shards of raw tensors.

Formats: tensorflow/core/lib/io/format.cc (table), tensorflow/core/protobuf/tensor_bundle.proto (entries).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trackserver.errors import DataError

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}


def find_index(path: Path) -> Path | None:
    """Find the .index of a checkpoint from its own path, a shard or their common prefix; None for other files."""
    name = path.name
    if ".data-" in name:
        name = name[: name.index(".data-")]
    index = path.with_name(name if name.endswith(".index") else name + ".index")
    return index if index.is_file() else None


def read(index: Path) -> dict[str, Tensor]:
    """Read every numeric tensor of a checkpoint by name, sorted, memory-mapped from its shards.

    Raises
    ------
    DataError
        The index or a shard is missing, truncated, compressed or of another kind.
    """
    try:
        return dict(_tensors(index))
    except (IndexError, KeyError, struct.error, ValueError, OverflowError):
        raise DataError(f"{index} is not a complete TensorFlow checkpoint index.") from None


def _tensors(index: Path) -> Iterator[tuple[str, Tensor]]:
    entries = [(key.decode(), _fields(value)) for key, value in _table(index, index.read_bytes())]
    shards = _last_int(dict(entries).get("", {}).get(1, [1]))
    for name, entry in entries:
        if name and _last_int(entry.get(1, [0])) in _DTYPES:  # strings, such as the object graph, are skipped
            yield name, _tensor(index, name, entry, shards)


def _table(index: Path, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(data) < FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise DataError(f"{index} is not a complete TensorFlow checkpoint index.")
    footer = data[-FOOTER_BYTES:]
    _, at = _varint(footer, 0)  # the metaindex's offset and size come first
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, at = _varint(footer, at)
    for _, handle in _block(index, data, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        yield from _block(index, data, start, length)


def _block(index: Path, data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Read a block's entries; a key omits the prefix it shares with the previous one. Skips the final restarts."""
    if data[offset + size] != 0:
        raise DataError(f"{index} is compressed, which TensorFlow's own checkpoints never are.")
    block = data[offset : offset + size]
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + added]
        at += added
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Read a protobuf message's fields by number, undecoded."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            length, at = (4, at) if tag & 7 == 5 else (8, at) if tag & 7 == 1 else _varint(message, at)
            value = message[at : at + length]
            at += length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _last_int(values: list[int | bytes]) -> int:
    value = values[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _tensor(index: Path, name: str, entry: dict[int, list[int | bytes]], shards: int) -> Tensor:
    if 7 in entry:
        raise DataError(f"{index}: {name} is stored in slices, which are not supported.")
    dtype = np.dtype(_DTYPES[_last_int(entry[1])])
    shape = [_last_int(_fields(size).get(1, [0])) for size in _sizes(entry)]
    offset, size = _last_int(entry.get(4, [0])), _last_int(entry.get(5, [0]))
    path = index.with_name(
        f"{index.name.removesuffix('.index')}.data-{_last_int(entry.get(3, [0])):05d}-of-{shards:05d}"
    )
    if not path.is_file():
        raise DataError(f"{index} needs {path.name} beside it, which is not there.")
    if size != dtype.itemsize * int(np.prod(shape)) or offset + size > path.stat().st_size:
        raise DataError(f"{path} is truncated: {name} should end at byte {offset + size:,}.")
    if not size:
        return torch.zeros(shape)
    return torch.from_numpy(np.memmap(path, dtype, mode="c", offset=offset, shape=tuple(shape)))


def _sizes(entry: dict[int, list[int | bytes]]) -> list[bytes]:
    shapes = [value for value in entry.get(2, []) if isinstance(value, bytes)]
    sizes = _fields(shapes[-1]).get(2, []) if shapes else []
    return [size for size in sizes if isinstance(size, bytes)]
