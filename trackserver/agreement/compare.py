"""A predicted tileset held against a measured one: at a locus, over regions, or genome-wide, which is computed once.

Both are read as exact means over the same bins, which lie on each chromosome's own grid as the predictions do. What a
track does not cover is not zero but unknown: such a bin is left out, and counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.figures import Agreement, Bins, agreement, bins_a_window, by_order_only, joined
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
from trackserver.predict.provenance import made_now
from trackserver.progress import Progress, no_progress
from trackserver.storage import digest, sha256
from trackserver.tiles.bed import BedTileset
from trackserver.tiles.bigbed import BigBedTileset
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.kinds import kind_of, open_file
from trackserver.tiles.tileset import Tileset

BIN_WIDTH = 128  # bp, where nothing says what the predictions' own is
MOST_BINS = 25_000_000  # compared at once, 100 bytes each: the human genome in bins of 128 bp
_FORMAT = 1  # another one where figures mean something else


@dataclass(frozen=True)
class Peaks:
    """Called peaks. A bin is one where more than half of it lies in them, as DeepSEA's targets were made."""

    name: str
    version: str
    intervals: BedTileset | BigBedTileset

    def among(self, locus: Locus, bin_width: int) -> NDArray[np.bool_]:
        """(bins,) which of the bins from the locus's start on are peaks; the last one is cut at its end."""
        edges = np.append(np.arange(locus.start, locus.end, bin_width), locus.end)
        return np.asarray(2 * self.intervals.covered(locus.chrom, edges) > np.diff(edges))


@dataclass(frozen=True)
class Pair:
    """A predicted and a measured tileset of one assembly, and the card of the model where it is installed."""

    predicted: TilesetRecord
    observed: TilesetRecord
    tracks: tuple[BigWigTileset, BigWigTileset]
    assembly: Assembly
    card: ModelCard | None
    peaks: Peaks | None

    def bin_width(self, loci: Sequence[Locus], most: int = MOST_BINS) -> int:
        """The predictions' own, or the least multiple of it that makes at most so many bins of the loci."""
        own = int(self.predicted.provenance.get("bin_width") or (self.card.bin_width if self.card else BIN_WIDTH))
        width = own * max(1, -(-sum(map(len, loci)) // (own * most)))
        while self.n_bins(loci, width) > most:  # by the bins that are cut by ends, and those that loci share
            width += own
        return width

    def n_bins(self, loci: Sequence[Locus], bin_width: int) -> int:
        return sum(-(-len(stretch) // bin_width) for stretch in on_bins(loci, self.assembly, bin_width))

    @property
    def named(self) -> dict[str, str | None]:
        """What is compared, for whoever asked."""
        return {
            "predicted": self.predicted.uid,
            "observed": self.observed.uid,
            "peaks": self.peaks.name if self.peaks else None,
            "assembly": self.assembly.name,
        }

    @property
    def folds(self) -> dict[str, list[Locus]]:
        """Where the folds of the model's training lie; empty where that is not known of this assembly."""
        if self.card is None or self.card.assemblies[0] != self.assembly.name:
            return {}
        return folds(self.card)


def pair(opened: TilesetCache, predicted: str, observed: str, peaks: Peaks | None = None) -> Pair:
    """Two tilesets by their uids.

    Raises
    ------
    UnknownTileset, UnreadableFile
        There is none, or its file is gone or damaged.
    InvalidRequest
        One of them is no signal, or they lie on different assemblies.
    """
    tracks = _signal(predicted, opened.get(predicted).tileset), _signal(observed, opened.get(observed).tileset)
    one, other = (opened.site.catalogue.tileset(uid) for uid in (predicted, observed))
    if one.assembly != other.assembly:
        raise InvalidRequest(
            f"'{one.uid}' lies on {one.assembly}, '{other.uid}' on {other.assembly}: they have no bins in common."
        )
    return Pair(one, other, tracks, opened.site.assembly(one.assembly), _card(opened.site, one.model), peaks)


def _signal(uid: str, tileset: Tileset) -> BigWigTileset:
    if not isinstance(tileset, BigWigTileset):
        raise InvalidRequest(f"'{uid}' is no signal track; what can be compared are bigWigs.")
    return tileset


def _card(site: Site, model: str) -> ModelCard | None:
    try:
        return registry.card(site.models, model)
    except (UnknownModel, DataError):  # a track may have come without its model; `check` names a damaged card
        return None


def peaks_of(opened: TilesetCache, uid: str) -> Peaks:
    """A tileset of the site as peaks.

    Raises
    ------
    InvalidRequest
        It holds no intervals.
    """
    tileset = opened.get(uid).tileset
    if not isinstance(tileset, BedTileset | BigBedTileset):
        raise InvalidRequest(f"'{uid}' holds no peaks; they are a BED, a narrowPeak or a bigBed.")
    return Peaks(uid, _version(opened.site.catalogue.tileset(uid)), tileset)


def peaks_in(opened: TilesetCache, file: Path, assembly: Assembly) -> Peaks:
    """A file as peaks."""
    tileset = open_file(kind_of(file.name).filetype, file, Grid(assembly), file.name, opened.blocks)
    if not isinstance(tileset, BedTileset | BigBedTileset):
        raise InvalidRequest(f"{file.name} holds no peaks; they are a BED, a narrowPeak or a bigBed.")
    return Peaks(file.name, sha256(file), tileset)


def _version(record: TilesetRecord) -> str:
    """What tells a file from another in its place; one on the web has no checksum."""
    return record.sha256 or f"{record.path} {record.size}"


def compare(two: Pair, loci: Sequence[Locus], bin_width: int, report: Progress = no_progress) -> Agreement:
    """The figures of all bins that the loci touch.

    Bins are counted from each chromosome's start, the last of a chromosome is cut at its end. A bin's value is the mean
    over those of its bases that the track covers.
    """
    stretches, n_bins = on_bins(loci, two.assembly, bin_width), two.n_bins(loci, bin_width)
    if n_bins > MOST_BINS:
        raise InvalidRequest(
            f"{n_bins:,} bins of {bin_width:,} bp are more than the {MOST_BINS:,} that are compared at once; "
            f"take bins of {two.bin_width(loci):,} bp or wider."
        )
    a_window, total = bins_a_window(n_bins, bin_width), 2 * sum(map(len, stretches))
    found = agreement(_read(two, stretches, bin_width, a_window, lambda done: report(done, total)))
    report(total, total)
    if two.card and two.card.probability:
        title = two.card.title
        return by_order_only(found, f"{title} predicts the probability of a peak: only order and peaks are compared.")
    return found


def _read(two: Pair, stretches: Sequence[Locus], bin_width: int, a_window: int, tick: Callable[[int], object]) -> Bins:
    """The bins in which both tracks have a value, so that of a genome no more is held than is compared."""
    parts, done = [], 0
    for stretch in stretches:
        parts.append(_bins(two, stretch, bin_width, a_window).known())
        tick(done := done + len(stretch))
    return joined(parts)


def _bins(two: Pair, stretch: Locus, bin_width: int, a_window: int) -> Bins:
    predicted, observed = (track.means(stretch, bin_width) for track in two.tracks)
    return Bins(
        predicted,
        observed,
        np.arange(len(predicted), dtype=np.int32) // np.int32(a_window),
        bin_width,
        a_window * bin_width,
        two.peaks.among(stretch, bin_width) if two.peaks else None,
    )


# --- Genome-wide -----------------------------------------------------------------------------------------------------


def genome_wide(site: Site, two: Pair, bin_width: int | None = None, report: Progress = no_progress) -> dict[str, Any]:
    """The figures of the whole genome and of each fold of the model's training, from the site or else computed now.

    Returns
    -------
    dict
        As stored: `figures`, and `folds` by name; strict JSON. `provenance` has checksums, version and date.

    Raises
    ------
    SiteReadOnly
        They would have to be kept, and cannot be.
    """
    whole = whole_genome(two.assembly)
    width = bin_width or two.bin_width(whole)
    question = _question(two, width)
    file = _place(site, two) / digest(question) / "agreement.json"
    if found := store.read(file):
        return found
    site.check_writable()
    began = time.perf_counter()
    figures = _each(two, {"": whole} | two.folds, width, report)
    described = {
        **two.named,
        "figures": figures.pop(""),
        "folds": figures,
        "question": question,
        "provenance": _provenance(two, time.perf_counter() - began),
    }
    store.store(file, described, {})
    return dict(json.loads(json.dumps(described)))


def _each(
    two: Pair, parts: Mapping[str, Sequence[Locus]], bin_width: int, report: Progress
) -> dict[str, dict[str, Any]]:
    """The figures of each part of the genome; a bin that two parts share is in both."""
    whole_bins = {part: on_bins(loci, two.assembly, bin_width) for part, loci in parts.items()}
    total, done, found = 2 * sum(len(locus) for loci in whole_bins.values() for locus in loci), 0, {}
    for part, loci in whole_bins.items():
        found[part] = asdict(compare(two, loci, bin_width, partial(_report_part, report, done, total)))
        done += 2 * sum(map(len, loci))
    return found


def _report_part(report: Progress, before: int, total: int, done: int, of: int) -> None:
    report(before + done, total)


def kept(site: Site, two: Pair) -> dict[str, Any] | None:
    """The newest genome-wide figures of a pair and its peaks that were computed, at whatever bin width, or None."""
    peaks = two.peaks.version if two.peaks else None
    found = [store.read(file) for file in _place(site, two).glob("*/agreement.json")]
    of_peaks = [one for one in found if one and one["question"]["peaks"] == peaks]
    return max(of_peaks, key=lambda one: str(one["provenance"]["date"]), default=None)


def _question(two: Pair, bin_width: int) -> dict[str, Any]:
    """Everything that genome-wide figures depend on."""
    return {
        "format": _FORMAT,
        "predicted": _version(two.predicted),
        "observed": _version(two.observed),
        "peaks": two.peaks.version if two.peaks else None,
        "bin_width": bin_width,
        "probability": bool(two.card and two.card.probability),
        "folds": digest({fold: [str(locus) for locus in loci] for fold, loci in two.folds.items()}),
    }


def _place(site: Site, two: Pair) -> Path:
    return site.path / "agreement" / digest([_version(two.predicted), _version(two.observed)])


def _provenance(two: Pair, seconds: float) -> dict[str, Any]:
    return {
        "predicted": _origin(two.predicted),
        "observed": _origin(two.observed),
        **made_now(),
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
