"""Parse the blocks of a bigWig (sections of the data, summaries of zoom levels), and aggregate them into bins."""

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

_SECTION_HEADER_BYTES = 24
_WORDS = {BED: 3, VARIABLE: 2, FIXED: 1}  # 32-bit words per record


class Section(NamedTuple):
    """A block of the data. `head` is its kind, count, start, step and span."""

    chrom_id: int
    head: tuple[int, int, int, int, int]
    words: Words
    singles: Singles


class Summaries(NamedTuple):
    """A block of a zoom level, (n, 8): chromosome, start, end, covered bases; minimum, maximum, sum, sum of squares."""

    words: Words
    singles: Singles


Block = Section | Summaries


class Axis(NamedTuple):
    """The start (-1: not on the axis) and end of each chromosome on the absolute axis, by its id in the file."""

    offsets: Integers
    limits: Integers


def sums(blocks: Iterable[Block], axis: Axis, origin: int, width: int, n_bins: int) -> Floats:
    """Return covered bases, sum and sum of squares of each bin, (3, n_bins), from blocks of one level."""
    out = np.zeros((3, n_bins))
    return _distribute(kernels.add_summaries, kernels.add_section, blocks, axis, origin, width, out)


def extremes(blocks: Iterable[Block], axis: Axis, origin: int, width: int, n_bins: int) -> Floats:
    """Return the minimum and maximum of each bin, (2, n_bins); inf and -inf if it has no values."""
    out = np.full((2, n_bins), np.inf)
    out[kernels.HIGH] = -np.inf
    return _distribute(kernels.widen_summaries, kernels.widen_section, blocks, axis, origin, width, out)


def _distribute(
    on_summaries: Callable[..., None],
    on_section: Callable[..., None],
    blocks: Iterable[Block],
    axis: Axis,
    origin: int,
    width: int,
    out: Floats,
) -> Floats:
    for block in blocks:
        if isinstance(block, Summaries):
            on_summaries(*block, *axis, origin, width, out)
        elif block.chrom_id < len(axis.offsets) and (offset := axis.offsets[block.chrom_id]) >= 0:
            limit = axis.limits[block.chrom_id]
            on_section(block.words, block.singles, block.head, offset, limit, origin, width, out)
    return out


def parse_section(block: bytes, order: str) -> Section:
    chrom, start, _, step, span, kind, _, count = struct.unpack_from(f"{order}IIIIIBBH", block)
    words = _native(np.frombuffer(block, f"{order}u4", offset=_SECTION_HEADER_BYTES))
    # The compiled loops do not check bounds, so the count is checked here.
    if kind not in _WORDS or count * _WORDS[kind] > len(words):
        raise ValueError("a block")
    return Section(chrom, (kind, count, start, step, span), words, words.view(np.float32))


def is_finite(section: Section) -> bool:
    """Return whether every record has a positive length and a finite value."""
    kind, count, _, _, span = section.head
    words, singles = (part[: count * _WORDS[kind]].reshape(count, -1) for part in (section.words, section.singles))
    has_length = (words[:, 1] > words[:, 0]).all() if kind == BED else span > 0
    return bool(has_length and np.isfinite(singles[:, -1]).all())


def parse_summaries(block: bytes, order: str) -> tuple[Summaries, list[int]]:
    """Parse and repair summaries; returns also the numbers of those that still lack their sums, see `repair`."""
    words = _native(np.frombuffer(bytearray(block), f"{order}u4").reshape(-1, 8))
    parsed, missing = Summaries(words, words.view(np.float32)), np.empty(len(words), np.int64)
    return parsed, missing[: kernels.repair(*parsed, missing)].tolist()


def concatenate(blocks: Sequence[Summaries]) -> Summaries:
    """Concatenate the summaries of several blocks."""
    words = np.concatenate([block.words for block in blocks])
    return Summaries(words, words.view(np.float32))


def _native(words: NDArray[Any]) -> Words:
    return words if words.dtype.isnative else words.astype(np.uint32)
