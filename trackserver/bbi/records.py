"""What a bigWig's blocks hold, sections of the data and summaries of zoom levels, and what they say of bins."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi import kernels
from trackserver.bbi.kernels import BED, FIXED, VARIABLE

Words = NDArray[np.uint32]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_HEAD = 24  # bytes of a section before its records
_WORDS = {BED: 3, VARIABLE: 2, FIXED: 1}  # of 32 bits a record


class Section(NamedTuple):
    """A block of the data. `head` is its kind, count, start, step and span."""

    chrom_id: int
    head: tuple[int, int, int, int, int]
    words: Words
    singles: Singles


class Summaries(NamedTuple):
    """A block of a zoom level, (n, 8): chromosome, start, end, covered; least, greatest, sum, sum of squares."""

    words: Words
    singles: Singles


Block = Section | Summaries


class Axis(NamedTuple):
    """Where a file's chromosomes begin (-1: nowhere) and end on the absolute axis, by their ids in the file."""

    offsets: Integers
    limits: Integers


def sums(blocks: Iterable[Block], axis: Axis, origin: int, width: int, n_bins: int) -> Floats:
    """(3, bins) the covered bases, sum and sum of squares of what blocks of one level say; rows as in `kernels`."""
    out = np.zeros((3, n_bins))
    return _spread(kernels.add_summaries, kernels.add_section, blocks, axis, origin, width, out)


def extremes(blocks: Iterable[Block], axis: Axis, origin: int, width: int, n_bins: int) -> Floats:
    """(2, bins) the least and greatest value; infinities the wrong way round where there is none."""
    out = np.full((2, n_bins), np.inf)
    out[kernels.HIGH] = -np.inf
    return _spread(kernels.widen_summaries, kernels.widen_section, blocks, axis, origin, width, out)


def _spread(
    of_summaries: Callable[..., None],
    of_section: Callable[..., None],
    blocks: Iterable[Block],
    axis: Axis,
    origin: int,
    width: int,
    out: Floats,
) -> Floats:
    for block in blocks:
        if isinstance(block, Summaries):
            of_summaries(*block, *axis, origin, width, out)
        elif block.chrom_id < len(axis.offsets) and (offset := axis.offsets[block.chrom_id]) >= 0:
            limit = axis.limits[block.chrom_id]
            of_section(block.words, block.singles, block.head, offset, limit, origin, width, out)
    return out


def section(block: bytes, order: str) -> Section:
    chrom, start, _, step, span, kind, _, count = struct.unpack_from(f"{order}IIIIIBBH", block)
    words = _native(np.frombuffer(block, f"{order}u4", offset=_HEAD))
    # The loops look at nothing twice: what they are told is there has to be.
    if kind not in _WORDS or count * _WORDS[kind] > len(words):
        raise ValueError("a block")
    return Section(chrom, (kind, count, start, step, span), words, words.view(np.float32))


def is_finite(section: Section) -> bool:
    """Whether every record has a length and a finite value."""
    kind, count, _, _, span = section.head
    words, singles = (part[: count * _WORDS[kind]].reshape(count, -1) for part in (section.words, section.singles))
    has_length = (words[:, 1] > words[:, 0]).all() if kind == BED else span > 0
    return bool(has_length and np.isfinite(singles[:, -1]).all())


def summaries(block: bytes, order: str) -> tuple[Summaries, list[int]]:
    """Put right where that is simple, and the numbers of those that lack their sums otherwise; see `kernels.mend`."""
    words = _native(np.frombuffer(bytearray(block), f"{order}u4").reshape(-1, 8))
    found, hard = Summaries(words, words.view(np.float32)), np.empty(len(words), np.int64)
    return found, hard[: kernels.mend(*found, hard)].tolist()


def joined(blocks: Sequence[Summaries]) -> Summaries:
    words = np.concatenate([block.words for block in blocks])
    return Summaries(words, words.view(np.float32))


def _native(words: NDArray[Any]) -> Words:
    return words if words.dtype.isnative else words.astype(np.uint32)
