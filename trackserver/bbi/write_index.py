"""What finds things in a bigWig: a tree of chromosomes by name, and of each level a tree of its blocks by place."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

FASTEST = 1  # of ISA-L's levels; its third is half as fast for files that are no smaller
BRANCHES = 256

_CHROMS, _REGIONS = 0x78CA8C91, 0x2468ACE0
_NODE = struct.Struct("<BBH")
_LEAF = np.dtype([("place", "<u4", 4), ("at", "<u8"), ("size", "<u8")])
_INNER = np.dtype([("place", "<u4", 4), ("child", "<u8")])

Items = NDArray[Any]  # of a record type


class Blocks:
    """Where a level's compressed blocks lie in a file.

    `entries` has six numbers a block: chromosome id and start of its first record, chromosome id and end of its last,
    where it lies and its bytes. `largest` is how many bytes a block unfolds to at most.
    """

    def __init__(self) -> None:
        self.entries, self.largest = array("Q"), 0

    def __len__(self) -> int:
        return len(self.entries) // 6

    def write(self, file: BinaryIO, block: bytes, first: tuple[int, int], last: tuple[int, int]) -> None:
        """Compress a block to the end of a file; `first` and `last` are (chromosome id, start or end)."""
        packed = isal_zlib.compress(block, FASTEST)
        self.entries.extend((*first, *last, file.tell(), len(packed)))
        self.largest = max(self.largest, len(block))
        file.write(packed)

    def move(self, file: BinaryIO, to: BinaryIO) -> None:
        """Copy all of them from `file` to the end of another one, where they lie from then on."""
        for number in range(4, len(self.entries), 6):
            file.seek(self.entries[number])
            self.entries[number] = to.tell()
            to.write(file.read(self.entries[number + 1]))

    def write_tree(self, file: BinaryIO) -> int:
        """An R tree over them, which came in the order of their places, to the end of a file; returns where it lies."""
        at = file.tell()
        rows = np.array(self.entries, np.uint64).reshape(-1, 6)
        leaves = np.zeros(len(rows), _LEAF)
        leaves["place"], leaves["at"], leaves["size"] = rows[:, :4], rows[:, 4], rows[:, 5]
        levels = [leaves]
        while len(levels[0]) > BRANCHES:
            levels.insert(0, _above(levels[0]))
        bounds = [*rows[0, :2].tolist(), *rows[-1, 2:4].tolist()] if len(rows) else [0] * 4
        head = struct.pack("<IIQIIIIQII", _REGIONS, BRANCHES, len(rows), *bounds, at, 1, 0)
        file.write(head + _nodes(levels, at + len(head)))
        return at


def chromosome_tree(chromsizes: Mapping[str, int], at: int) -> bytes:
    """A B+ tree from name to (id, size), for `at` in the file: ids count in the given order, names are sorted as bytes.

    Readers may search for a name, and compare bytes where they do.
    """
    items = sorted((name.encode(), number, size) for number, (name, size) in enumerate(chromsizes.items()))
    width = max(len(name) for name, _, _ in items)
    levels = [np.array(items, [("key", f"S{width}"), ("id", "<u4"), ("size", "<u4")])]
    while len(levels[0]) > BRANCHES:
        above = np.zeros(-(-len(levels[0]) // BRANCHES), [("key", f"S{width}"), ("child", "<u8")])
        above["key"] = levels[0]["key"][::BRANCHES]
        levels.insert(0, above)
    head = struct.pack("<IIIIQQ", _CHROMS, min(BRANCHES, len(items)), width, 8, len(items), 0)
    return head + _nodes(levels, at + len(head))


def _above(below: Items) -> Items:
    """The level of an R tree over another one."""
    first = np.arange(0, len(below), BRANCHES)
    last = np.minimum(first + BRANCHES, len(below)) - 1
    items = np.zeros(len(first), _INNER)
    items["place"] = np.concatenate([below["place"][first, :2], below["place"][last, 2:]], axis=1)
    return items


def _nodes(levels: list[Items], at: int) -> bytes:
    """Levels from the root to the leaves, each in nodes of up to `BRANCHES` items, for `at` in the file."""
    written = []
    for depth, items in enumerate(levels):
        is_leaf = depth == len(levels) - 1
        starts = range(0, max(len(items), 1), BRANCHES)  # a tree of nothing has a leaf all the same
        at += len(starts) * _NODE.size + items.nbytes
        if not is_leaf:
            full = _NODE.size + BRANCHES * levels[depth + 1].itemsize
            items["child"] = at + full * np.arange(len(items))
        for start in starts:
            node = items[start : start + BRANCHES]
            written.append(_NODE.pack(is_leaf, 0, len(node)) + node.tobytes())
    return b"".join(written)
