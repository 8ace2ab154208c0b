"""Genome-wide tracks: windows in, one bigWig a track out, in chunks that survive a kill.

The windows are cut into chunks. A chunk's predictions are written beside the output as one array, which counts
once it is renamed into place; a run that is resumed computes only what is missing. The bigWigs are written from
the chunks at the end, so nothing half-predicted is ever seen.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import SiteReadOnly
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Genome, N
from trackserver.predict.bigwig import Stretch, write_bigwig
from trackserver.predict.engine import Predictor
from trackserver.predict.reading import Reading
from trackserver.predict.windows import Window, on_bins, tile

CHUNK = 64  # windows: seconds of work, and what a kill costs at most

Report = Callable[[int, int], None]  # (windows done, windows in all)


@dataclass(frozen=True)
class Run:
    """Everything a run's numbers depend on; an old run's chunks are used only where all of it is the same."""

    model: str
    weights_sha256: str
    fasta_sha256: str
    assembly: str
    tracks: tuple[int, ...]
    reading: Reading
    bin_width: int
    regions: tuple[Locus, ...]

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def sweep(
    predictor: Predictor,
    genome: Genome,
    assembly: Assembly,
    run: Run,
    work: Path,
    paths: Sequence[Path],
    report: Report,
) -> None:
    """Predict a run's regions and write one bigWig a track.

    Parameters
    ----------
    work
        Directory of unfinished runs; this run's chunks lie under `work / run.id` until its bigWigs are written.
    paths
        Where each of `run.tracks` goes.

    Notes
    -----
    A bin over N alone is no data, not zero. Windows of N alone are not computed.
    """
    card = predictor.card
    windows = list(tile(on_bins(run.regions, assembly, card.bin_width), card, assembly))
    chunks = [windows[start : start + CHUNK] for start in range(0, len(windows), CHUNK)]
    try:
        place = work / run.id
        place.mkdir(parents=True, exist_ok=True)
        for number, chunk in enumerate(chunks):
            if not _chunk_path(place, number).exists():
                _save(_chunk_path(place, number), predict_windows(predictor, genome, chunk))
            report(min((number + 1) * CHUNK, len(windows)), len(windows))
        for row, path in enumerate(paths):
            write_bigwig(path, assembly, card.bin_width, _stretches(place, chunks, card.bin_width, row))
        shutil.rmtree(place)
    except OSError as error:
        raise SiteReadOnly(
            f"The prediction stopped: {error.strerror} ({error.filename}). Resume it with --resume."
        ) from error


def forget(work: Path, run: Run) -> None:
    """Throw away what an earlier, unfinished run left."""
    shutil.rmtree(work / run.id, ignore_errors=True)


def predict_windows(predictor: Predictor, genome: Genome, windows: Sequence[Window]) -> NDArray[np.float32]:
    """The kept bins of consecutive windows end to end, float32 (T, bins); NaN over N."""
    card, width = predictor.card, predictor.card.bin_width
    codes = [genome.codes(window.read) for window in windows]
    kept = [np.full((len(predictor.tracks), window.n_bins(width)), np.nan, np.float32) for window in windows]
    known = [index for index, read in enumerate(codes) if (read != N).any()]
    for batch in _batches(known, [len(read) for read in codes], predictor.batch_size):
        for index, values in zip(batch, predictor.predict(np.stack([codes[i] for i in batch])), strict=True):
            known_bins = (codes[index][card.crop : len(codes[index]) - card.crop].reshape(-1, width) != N).any(axis=1)
            kept[index][:] = np.where(known_bins, values, np.nan)[:, : kept[index].shape[1]]
    return np.concatenate(kept, axis=1)


def _batches(indices: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Runs of windows of one length, at most `size` of them: a short chromosome's are shorter."""
    for _, group in itertools.groupby(indices, key=lambda index: lengths[index]):
        same = list(group)
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _chunk_path(place: Path, number: int) -> Path:
    return place / f"chunk-{number:06d}.npy"


def _save(path: Path, values: NDArray[np.float32]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _stretches(place: Path, chunks: list[list[Window]], bin_width: int, row: int) -> Iterator[Stretch]:
    for number, chunk in enumerate(chunks):
        values = np.load(_chunk_path(place, number), mmap_mode="r")[row]
        first = 0
        for window in chunk:
            count = window.n_bins(bin_width)
            yield Stretch(window.keep, np.array(values[first : first + count]))
            first += count
