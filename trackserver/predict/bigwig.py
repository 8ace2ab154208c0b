"""Predicted bins to bigWig files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus


class Stretch(NamedTuple):
    """Consecutive bins: `values` float32 (bins,) from `locus.start` on, the last clipped at `locus.end`."""

    locus: Locus
    values: NDArray[np.float32]


def write_bigwig(path: Path, assembly: Assembly, bin_width: int, stretches: Iterable[Stretch]) -> None:
    """Write stretches, which come sorted in the assembly's order; NaN bins are left out, as bigWig says 'no data'.

    Memory is one stretch's. The file appears under its name only when it is complete.
    """
    partial = path.with_name(f".{path.name}.partial")
    with pyBigWig.open(str(partial), "w") as writer:
        writer.addHeader(list(assembly.chromsizes.items()))
        for stretch in stretches:
            _add(writer, stretch, bin_width)
    os.replace(partial, path)


def _add(writer, stretch: Stretch, bin_width: int) -> None:  # type: ignore[no-untyped-def]  # pyBigWig has no types
    known = np.flatnonzero(np.isfinite(stretch.values))
    if not known.size:
        return
    starts = stretch.locus.start + known * bin_width
    ends = np.minimum(starts + bin_width, stretch.locus.end)
    writer.addEntries([stretch.locus.chrom] * len(known), starts.tolist(), ends=ends.tolist(),
                      values=stretch.values[known].astype(np.float64).tolist())  # fmt: skip
