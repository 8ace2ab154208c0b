"""What a bigWig's blocks hold, as columns: all blocks that a tile touches are taken apart in one go."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_HEAD = 24  # bytes of a section before its records
_WORDS = {1: 3, 2: 2, 3: 1}  # of 32 bits a record: bedGraph, variable steps, fixed steps


class Place(NamedTuple):
    """A stretch of a chromosome, and how far along the axis its records are moved."""

    chrom_id: int
    start: int
    end: int
    offset: int


class Rows(NamedTuple):
    """Records in order.

    amounts : float64 (2 or 5, n), the first rows of `grid.Stretches`: a mean needs two, which is less to make
    """

    starts: Integers
    ends: Integers
    amounts: Floats


def no_rows(n_amounts: int) -> Rows:
    return Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((n_amounts, 0)))


def join(pieces: Sequence[Rows]) -> Rows:
    """Pieces end to end."""
    if len(pieces) == 1:
        return pieces[0]
    starts, ends, amounts = zip(*pieces, strict=True)
    return Rows(np.concatenate(starts), np.concatenate(ends), np.concatenate(amounts, axis=1))


def summaries(blocks: Sequence[bytes], order: str, place: Place, n_amounts: int) -> Rows:
    """What blocks of a zoom level say of a place."""
    words, floats = _words(b"".join(blocks), order)
    if len(words) and words[0, 0] != words[-1, 0]:  # one block may go on with the next chromosome
        own = slice(*words[:, 0].searchsorted(np.array([place.chrom_id, place.chrom_id + 1])))
        words, floats = words[own], floats[own]
    starts, ends = words[:, 1] + np.int64(place.offset), words[:, 2] + np.int64(place.offset)
    near = _touching(starts, ends, place)
    starts, ends, words, floats = starts[near], ends[near], words[near], floats[near]
    return Rows(starts, ends, _amounts(words, floats, n_amounts))


def all_summaries(blocks: Sequence[bytes], order: str, offsets: Integers, limits: Integers, n_amounts: int) -> Rows:
    """What blocks of a zoom level say of all chromosomes, along the absolute axis.

    `offsets`, `limits` : where each chromosome begins and ends on the axis, by its id; -1 begins one that is not on it.
    """
    words, floats = _words(b"".join(blocks), order)
    begins = offsets[words[:, 0]]
    starts, ends = words[:, 1] + begins, np.minimum(words[:, 2] + begins, limits[words[:, 0]])
    kept = np.argsort(starts, kind="stable")  # the file's chromosomes may come in another order
    kept = kept[begins[kept] >= 0]
    return Rows(starts[kept], ends[kept], _amounts(words, floats, n_amounts)[:, kept])


def sections(blocks: Sequence[bytes], order: str, place: Place, n_amounts: int) -> Rows:
    """What blocks of the data say of a place; values that are not finite are left out."""
    kinds = {_kind(block) for block in blocks}
    if len(kinds) > 1:
        return join([sections([block], order, place, n_amounts) for block in blocks])
    starts, ends, values = _columns([block for block in blocks if _chrom_id(block, order) == place.chrom_id], order)
    starts += place.offset
    ends += place.offset
    near = _touching(starts, ends, place)
    starts, ends, values = starts[near], ends[near], values[near].astype(np.float64)
    lengths = ends - starts
    good = np.isfinite(values) & (lengths > 0)
    if not good.all():
        starts, ends, values, lengths = starts[good], ends[good], values[good], lengths[good]
    amounts = np.empty((n_amounts, len(starts)))
    amounts[0] = lengths
    np.multiply(values, lengths, out=amounts[1])
    if n_amounts > 2:
        np.multiply(values, amounts[1], out=amounts[2])
        amounts[3] = amounts[4] = values
    return Rows(starts, ends, amounts)


def is_finite(block: bytes, order: str) -> bool:
    """Whether every record of a block of the data has a length and a finite value."""
    starts, ends, values = _columns([block], order)
    return bool((np.isfinite(values) & (ends > starts)).all())


def faults(summaries: bytes, order: str) -> tuple[list[int], list[int]]:
    """Which records of a zoom level say nothing, and which have a sum of 0 that their extremes do not allow.

    libBigWig, and so pyBigWig and deepTools, leave the sums at the end of each of its blocks at 0.
    """
    words, floats = _words(summaries, order)
    sums = floats[:, 6]
    void = np.flatnonzero(~(np.isfinite(sums) & (words[:, 3] > 0) & (words[:, 2] > words[:, 1])))
    zero = np.flatnonzero(sums == 0)
    wrong = zero[(floats[zero, 4] > 0) | (floats[zero, 5] < 0)]
    return void.tolist(), sorted(set(wrong.tolist()) - set(void.tolist()))


class Summary(NamedTuple):
    """One record of a zoom level, as it lies in the file."""

    chrom_id: int
    start: int
    end: int
    covered: int
    low: float
    high: float
    sum: float
    squares: float


SUMMARY = 32  # bytes


def summary_at(summaries: bytes | bytearray, order: str, number: int) -> Summary:
    return Summary(*struct.unpack_from(f"{order}4I4f", summaries, SUMMARY * number))


def put_summary(summaries: bytearray, order: str, number: int, summary: Summary) -> None:
    struct.pack_into(f"{order}4I4f", summaries, SUMMARY * number, *summary)


def covered(summaries: bytes) -> bytes:
    """Those that cover something."""
    records = np.frombuffer(summaries, "u4").reshape(-1, SUMMARY // 4)
    return summaries if records[:, 3].all() else records[records[:, 3] > 0].tobytes()


def _words(block: bytes, order: str) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """(n, 8) chromosome, start, end, covered as integers; then least, greatest, sum, sum of squares as floats."""
    words = np.frombuffer(block, f"{order}u4").reshape(-1, 8)
    return words, words.view(f"{order}f4")


def _amounts(words: NDArray[np.uint32], floats: NDArray[np.float32], n_amounts: int) -> Floats:
    amounts = np.empty((n_amounts, len(words)))
    amounts[0], amounts[1] = words[:, 3], floats[:, 6]
    if n_amounts > 2:
        amounts[2], amounts[3], amounts[4] = floats[:, 7], floats[:, 4], floats[:, 5]
    return amounts


def _touching(starts: Integers, ends: Integers, place: Place) -> slice:
    low, high = place.start + place.offset, place.end + place.offset
    return slice(ends.searchsorted(low, "right"), starts.searchsorted(high, "left"))


def _columns(blocks: Sequence[bytes], order: str) -> tuple[Integers, Integers, NDArray[np.float32]]:
    """Starts, ends and values of sections of one kind."""
    if not blocks:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    kind = _kind(blocks[0])
    if kind not in _WORDS:
        raise ValueError("a block")
    heads = [struct.unpack_from(f"{order}IIIIIBBH", block) for block in blocks]
    counts, spans = [head[7] for head in heads], [head[4] for head in heads]
    each = _WORDS[kind]
    pieces = [np.frombuffer(b, f"{order}u4", n * each, _HEAD) for b, n in zip(blocks, counts, strict=True)]
    words = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).reshape(-1, each)
    values = words.view(f"{order}f4")[:, -1]
    if kind == 1:
        return words[:, 0].astype(np.int64), words[:, 1].astype(np.int64), values
    if kind == 2:
        starts = words[:, 0].astype(np.int64)
    else:
        starts = np.concatenate([head[1] + head[3] * np.arange(head[7], dtype=np.int64) for head in heads])
    return starts, starts + (spans[0] if len(set(spans)) == 1 else np.repeat(spans, counts)), values


def _kind(block: bytes) -> int:
    return block[20] if len(block) >= _HEAD else 0


def _chrom_id(block: bytes, order: str) -> int:
    return int(struct.unpack_from(f"{order}I", block)[0])
