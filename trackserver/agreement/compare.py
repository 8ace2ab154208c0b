"""Compare a predicted tileset with an observed one, at loci or genome-wide.

Both are read as exact means over the same bins, which are counted from each chromosome's start. Bases that a track does
not cover are unknown, not zero: a bin with no covered base is left out and counted. Genome-wide figures are stored.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.figures import Agreement, Bins, agreement, bins_per_window, join_bins, rank_figures_only
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.effects import store
from trackserver.errors import DataError, InvalidRequest, UnknownModel
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import on_bins, whole_genome
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.models.folds import folds
from trackserver.predict.provenance import version_and_date
from trackserver.progress import Progress, no_progress
from trackserver.storage import digest, sha256
from trackserver.tiles.bed import BedTileset
from trackserver.tiles.bigbed import BigBedTileset
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.kinds import kind_of, open_file
from trackserver.tiles.tileset import Tileset

DEFAULT_BIN_WIDTH = 128  # bp, if the predictions' own bin width is unknown
MAX_BINS = 25_000_000  # in one comparison, 100 bytes each: the human genome in bins of 128 bp
_FORMAT = 2  # of stored figures; changes with their fields or meaning


@dataclass(frozen=True)
class Peaks:
    """Called peaks. A bin counts as a peak if more than half of it is in one, as in DeepSEA's targets."""

    name: str
    version: str
    intervals: BedTileset | BigBedTileset

    def mask(self, locus: Locus, bin_width: int) -> NDArray[np.bool_]:
        """(bins,) which bins of a locus are peaks; bins start at the locus's start, and its end cuts the last one."""
        edges = np.append(np.arange(locus.start, locus.end, bin_width), locus.end)
        return np.asarray(2 * self.intervals.covered_bases(locus.chrom, edges) > np.diff(edges))


@dataclass(frozen=True)
class ComparedPair:
    """A predicted and an observed tileset of one assembly, and the model's card if it is installed."""

    predicted: TilesetRecord
    observed: TilesetRecord
    tracks: tuple[BigWigTileset, BigWigTileset]
    assembly: Assembly
    card: ModelCard | None
    peaks: Peaks | None

    def bin_width(self, loci: Sequence[Locus], max_bins: int = MAX_BINS) -> int:
        """The predictions' own bin width, or its least multiple that divides the loci into at most `max_bins`."""
        own = int(
            self.predicted.provenance.get("bin_width") or (self.card.bin_width if self.card else DEFAULT_BIN_WIDTH)
        )
        width = own * max(1, -(-sum(map(len, loci)) // (own * max_bins)))
        while self.n_bins(loci, width) > max_bins:  # ends of loci add partial bins
            width += own
        return width

    def n_bins(self, loci: Sequence[Locus], bin_width: int) -> int:
        return sum(-(-len(stretch) // bin_width) for stretch in on_bins(loci, self.assembly, bin_width))

    @property
    def names(self) -> dict[str, str | None]:
        """The uids and the assembly, as JSON."""
        return {
            "predicted": self.predicted.uid,
            "observed": self.observed.uid,
            "peaks": self.peaks.name if self.peaks else None,
            "assembly": self.assembly.name,
        }

    @property
    def folds(self) -> dict[str, list[Locus]]:
        """The regions of the model's training folds; empty if they are unknown on this assembly."""
        if self.card is None or self.card.assemblies[0] != self.assembly.name:
            return {}
        return folds(self.card)


def open_pair(tilesets: TilesetCache, predicted: str, observed: str, peaks: Peaks | None = None) -> ComparedPair:
    """Open two tilesets by their uids.

    Raises
    ------
    UnknownTileset, UnreadableFile
        There is no such tileset, or its file is gone or damaged.
    InvalidRequest
        One of them is not a bigWig, or they are on different assemblies.
    """
    tracks = (
        _check_signal(predicted, tilesets.get(predicted).tileset),
        _check_signal(observed, tilesets.get(observed).tileset),
    )
    one, other = (tilesets.site.catalogue.tileset(uid) for uid in (predicted, observed))
    if one.assembly != other.assembly:
        raise InvalidRequest(
            f"'{one.uid}' is on {one.assembly} but '{other.uid}' is on {other.assembly}; they must share one assembly."
        )
    return ComparedPair(
        one, other, tracks, tilesets.site.assembly(one.assembly), _card(tilesets.site, one.model), peaks
    )


def _check_signal(uid: str, tileset: Tileset) -> BigWigTileset:
    if not isinstance(tileset, BigWigTileset):
        raise InvalidRequest(f"'{uid}' is not a signal track; only bigWigs can be compared.")
    return tileset


def _card(site: Site, model: str) -> ModelCard | None:
    try:
        return registry.card(site.models, model)
    except (UnknownModel, DataError):  # the model may not be installed; `trackserver check` reports a damaged card
        return None


def peaks_from_tileset(tilesets: TilesetCache, uid: str) -> Peaks:
    """Read a tileset of the site as peaks.

    Raises
    ------
    InvalidRequest
        The tileset has no intervals.
    """
    tileset = tilesets.get(uid).tileset
    if not isinstance(tileset, BedTileset | BigBedTileset):
        raise InvalidRequest(f"'{uid}' is not a peak file; use a BED, a narrowPeak or a bigBed.")
    return Peaks(uid, _version(tilesets.site.catalogue.tileset(uid)), tileset)


def peaks_from_file(tilesets: TilesetCache, file: str | os.PathLike[str], assembly: Assembly) -> Peaks:
    """Read a file as peaks."""
    file = Path(file)
    tileset = open_file(kind_of(file.name).filetype, file, Grid(assembly), file.name, tilesets.blocks)
    if not isinstance(tileset, BedTileset | BigBedTileset):
        raise InvalidRequest(f"{file.name} is not a peak file; use a BED, a narrowPeak or a bigBed.")
    return Peaks(file.name, sha256(file), tileset)


def _version(record: TilesetRecord) -> str:
    """Identifies a tileset's file, by its checksum, or on the web by its address and size."""
    return record.sha256 or f"{record.path} {record.size}"


def compare(pair: ComparedPair, loci: Sequence[Locus], bin_width: int, report: Progress = no_progress) -> Agreement:
    """Compute the figures of all bins that the loci touch.

    Bins are counted from each chromosome's start, and its end cuts the last one. A bin's value is the mean over those
    of its bases that the track covers.
    """
    stretches, n_bins = on_bins(loci, pair.assembly, bin_width), pair.n_bins(loci, bin_width)
    if n_bins > MAX_BINS:
        raise InvalidRequest(
            f"{n_bins:,} bins of {bin_width:,} bp are more than the {MAX_BINS:,} that can be compared at once; "
            f"use bins of {pair.bin_width(loci):,} bp or wider."
        )
    window_bins, total = bins_per_window(n_bins, bin_width), 2 * sum(map(len, stretches))
    result = agreement(_read(pair, stretches, bin_width, window_bins, lambda done: report(done, total)))
    report(total, total)
    if pair.card and pair.card.probability:
        title = pair.card.title
        return rank_figures_only(
            result, f"{title} predicts the probability of a peak, so only order and peaks are compared."
        )
    return result


def _read(
    pair: ComparedPair, stretches: Sequence[Locus], bin_width: int, window_bins: int, report_bp: Callable[[int], object]
) -> Bins:
    """Read the bins in which both tracks have a value, one stretch after another to save memory."""
    parts, done = [], 0
    for stretch in stretches:
        parts.append(_bins(pair, stretch, bin_width, window_bins).known())
        report_bp(done := done + len(stretch))
    return join_bins(parts)


def _bins(pair: ComparedPair, stretch: Locus, bin_width: int, window_bins: int) -> Bins:
    predicted, observed = (track.means(stretch, bin_width) for track in pair.tracks)
    return Bins(
        predicted,
        observed,
        np.arange(len(predicted), dtype=np.int32) // np.int32(window_bins),
        bin_width,
        window_bins * bin_width,
        pair.peaks.mask(stretch, bin_width) if pair.peaks else None,
    )


# --- Genome-wide -----------------------------------------------------------------------------------------------------


def genome_wide(
    site: Site, pair: ComparedPair, bin_width: int | None = None, report: Progress = no_progress
) -> dict[str, Any]:
    """The figures of the whole genome and of each training fold, stored on the site or else computed now.

    Returns
    -------
    dict
        Strict JSON with `figures`, and `folds` by name; `provenance` has checksums, version and date.

    Raises
    ------
    SiteReadOnly
        The figures are not stored yet, and the site cannot be written.
    """
    whole = whole_genome(pair.assembly)
    width = bin_width or pair.bin_width(whole)
    question = _question(pair, width)
    file = _folder(site, pair) / digest(question) / "agreement.json"
    if stored := store.read(file):
        return stored
    site.check_writable()
    start = time.perf_counter()
    figures = _figures_by_part(pair, {"": whole} | pair.folds, width, report)
    result = {
        **pair.names,
        "figures": figures.pop(""),
        "folds": figures,
        "question": question,
        "provenance": _provenance(pair, time.perf_counter() - start),
    }
    store.write(file, result, {})
    return dict(json.loads(json.dumps(result)))


def _figures_by_part(
    pair: ComparedPair, parts: Mapping[str, Sequence[Locus]], bin_width: int, report: Progress
) -> dict[str, dict[str, Any]]:
    """The figures of each part of the genome; a bin that two parts share counts in both."""
    loci_by_part = {part: on_bins(loci, pair.assembly, bin_width) for part, loci in parts.items()}
    total, done, figures = 2 * sum(len(locus) for loci in loci_by_part.values() for locus in loci), 0, {}
    for part, loci in loci_by_part.items():
        figures[part] = asdict(compare(pair, loci, bin_width, partial(_report_part, report, done, total)))
        done += 2 * sum(map(len, loci))
    return figures


def _report_part(report: Progress, before: float, total: float, done: float, part_total: float) -> None:
    report(before + done, total)


def stored_agreement(site: Site, pair: ComparedPair) -> dict[str, Any] | None:
    """The newest stored genome-wide figures of a pair and its peaks, at any bin width, or None."""
    expected = {"format": _FORMAT, "peaks": pair.peaks.version if pair.peaks else None}
    results = [store.read(file) for file in _folder(site, pair).glob("*/agreement.json")]
    matching = [result for result in results if result and expected.items() <= result["question"].items()]
    return max(matching, key=lambda result: str(result["provenance"]["date"]), default=None)


def _question(pair: ComparedPair, bin_width: int) -> dict[str, Any]:
    """Everything that the genome-wide figures depend on."""
    return {
        "format": _FORMAT,
        "predicted": _version(pair.predicted),
        "observed": _version(pair.observed),
        "peaks": pair.peaks.version if pair.peaks else None,
        "bin_width": bin_width,
        "probability": bool(pair.card and pair.card.probability),
        "folds": digest({fold: [str(locus) for locus in loci] for fold, loci in pair.folds.items()}),
    }


def _folder(site: Site, pair: ComparedPair) -> Path:
    return site.path / "agreement" / digest([_version(pair.predicted), _version(pair.observed)])


def _provenance(pair: ComparedPair, seconds: float) -> dict[str, Any]:
    return {
        "predicted": _origin(pair.predicted),
        "observed": _origin(pair.observed),
        **version_and_date(),
        "seconds": round(seconds, 1),
    }


def _origin(record: TilesetRecord) -> Mapping[str, Any]:
    return {
        "uid": record.uid,
        "name": record.name,
        "sha256": record.sha256 or None,
        "bytes": record.size,
        "model": record.model or None,
        "weights_sha256": record.provenance.get("weights_sha256"),
    }
