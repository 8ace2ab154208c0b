"""Write the indexes of a bigWig: a tree of chromosomes by name, and for each level a tree of its blocks by position."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

COMPRESSION_LEVEL = 1  # ISA-L's fastest; level 3 takes twice as long and makes files no smaller
BRANCHES = 256

_CHROMS, _REGIONS = 0x78CA8C91, 0x2468ACE0
_NODE = struct.Struct("<BBH")
_LEAF = np.dtype([("locus", "<u4", 4), ("at", "<u8"), ("size", "<u8")])
_INNER = np.dtype([("locus", "<u4", 4), ("child", "<u8")])

Items = NDArray[Any]  # of one of these record types


class Blocks:
    """The positions of a level's compressed blocks in a file.

    `entries` has six numbers per block: chromosome id and start of its first record, chromosome id and end of its last
    record, offset in the file, size in bytes. `largest` is the size of the largest unzipped block.
    """

    def __init__(self) -> None:
        self.entries, self.largest = array("Q"), 0

    def __len__(self) -> int:
        return len(self.entries) // 6

    def write(self, file: BinaryIO, block: bytes, first: tuple[int, int], last: tuple[int, int]) -> None:
        """Compress a block and append it to a file; `first` and `last` are (chromosome id, start or end)."""
        zipped = isal_zlib.compress(block, COMPRESSION_LEVEL)
        self.entries.extend((*first, *last, file.tell(), len(zipped)))
        self.largest = max(self.largest, len(block))
        file.write(zipped)

    def move(self, file: BinaryIO, to: BinaryIO) -> None:
        """Copy all blocks from `file` to the end of another file, and update their offsets."""
        for number in range(4, len(self.entries), 6):
            file.seek(self.entries[number])
            self.entries[number] = to.tell()
            to.write(file.read(self.entries[number + 1]))

    def write_tree(self, file: BinaryIO) -> int:
        """Append an R tree of the blocks, which must be sorted by position, to a file; returns the tree's offset."""
        at = file.tell()
        rows = np.array(self.entries, np.uint64).reshape(-1, 6)
        leaves = np.zeros(len(rows), _LEAF)
        leaves["locus"], leaves["at"], leaves["size"] = rows[:, :4], rows[:, 4], rows[:, 5]
        levels = [leaves]
        while len(levels[0]) > BRANCHES:
            levels.insert(0, _parents(levels[0]))
        bounds = [*rows[0, :2].tolist(), *rows[-1, 2:4].tolist()] if len(rows) else [0] * 4
        head = struct.pack("<IIQIIIIQII", _REGIONS, BRANCHES, len(rows), *bounds, at, 1, 0)
        file.write(head + _nodes(levels, at + len(head)))
        return at


def chromosome_tree(chromsizes: Mapping[str, int], at: int) -> bytes:
    """Return a B+ tree that maps names to (id, size), to be written at offset `at`.

    Ids count in the given order. Names are sorted as bytes, because readers that search for a name compare bytes.
    """
    items = sorted((name.encode(), number, size) for number, (name, size) in enumerate(chromsizes.items()))
    width = max(len(name) for name, _, _ in items)
    levels = [np.array(items, [("key", f"S{width}"), ("id", "<u4"), ("size", "<u4")])]
    while len(levels[0]) > BRANCHES:
        parents = np.zeros(-(-len(levels[0]) // BRANCHES), [("key", f"S{width}"), ("child", "<u8")])
        parents["key"] = levels[0]["key"][::BRANCHES]
        levels.insert(0, parents)
    head = struct.pack("<IIIIQQ", _CHROMS, min(BRANCHES, len(items)), width, 8, len(items), 0)
    return head + _nodes(levels, at + len(head))


def _parents(children: Items) -> Items:
    """Make the parent level of a level of an R tree."""
    first = np.arange(0, len(children), BRANCHES)
    last = np.minimum(first + BRANCHES, len(children)) - 1
    items = np.zeros(len(first), _INNER)
    items["locus"] = np.concatenate([children["locus"][first, :2], children["locus"][last, 2:]], axis=1)
    return items


def _nodes(levels: list[Items], at: int) -> bytes:
    """Pack the levels, from the root to the leaves, into nodes of up to `BRANCHES` items, to be written at `at`."""
    packed = []
    for depth, items in enumerate(levels):
        is_leaf = depth == len(levels) - 1
        starts = range(0, max(len(items), 1), BRANCHES)  # an empty tree has one empty leaf
        at += len(starts) * _NODE.size + items.nbytes
        if not is_leaf:
            full_node_bytes = _NODE.size + BRANCHES * levels[depth + 1].itemsize
            items["child"] = at + full_node_bytes * np.arange(len(items))
        for start in starts:
            node = items[start : start + BRANCHES]
            packed.append(_NODE.pack(is_leaf, 0, len(node)) + node.tobytes())
    return b"".join(packed)
