"""Two tracks on common bins: against per-base values read by another library, and the stored figures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pyBigWig
import pytest
from scipy import stats

from tests.agreement.test_figures import slow_auprc
from tests.conftest import CHROMSIZES, write_signal
from trackserver.agreement import compare as comparison
from trackserver.agreement.compare import (
    ComparedPair,
    compare,
    genome_wide,
    open_pair,
    peaks_from_file,
    peaks_from_tileset,
    stored_agreement,
)
from trackserver.agreement.figures import Agreement
from trackserver.catalogue.init import init_site
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.errors import InvalidRequest, UnknownTileset
from trackserver.genome.locus import Locus
from trackserver.models import registry
from trackserver.models.card import write_card

WHOLE = [Locus(chrom, 0, size) for chrom, size in CHROMSIZES.items()]
PEAKS = "chrA\t1000\t1100\nchrA\t1050\t1200\nchrA\t20010\t20400\nchrA\t69900\t70000\nchrB\t8000\t9500\n1\t5\t6\n"


@pytest.fixture
def tilesets(site: Site, tmp_path: Path) -> TilesetCache:
    """The site's `signal`, and a prediction of it in bins of 48 bp that lacks the end of chrA and all of chrC."""
    path = tmp_path / "predicted.bw"
    rng = np.random.default_rng(5)
    with (
        pyBigWig.open(str(site.inside(site.catalogue.tileset("signal").path))) as signal,
        pyBigWig.open(str(path), "w") as writer,
    ):
        writer.addHeader(list(CHROMSIZES.items()))
        for chrom, size in {"chrA": 65_000, "chrB": 31_000}.items():
            starts = np.arange(0, size, 48)
            ends = np.minimum(starts + 48, size)
            known = np.nan_to_num(signal.values(chrom, 0, size, numpy=True))
            means = np.add.reduceat(known, starts) / (ends - starts)
            values = means * rng.gamma(4.0, 0.25, len(means)) + 0.05
            writer.addEntries([chrom] * len(starts), starts.tolist(), ends=ends.tolist(), values=values.tolist())
    add_tileset(site, TilesetRecord("predicted", "P", PREDICTED, "tiny", str(path), model="random",
                                    provenance={"bin_width": 48}))  # fmt: skip
    return TilesetCache(site)


@pytest.fixture
def pair(tilesets: TilesetCache) -> ComparedPair:
    return open_pair(tilesets, "predicted", "signal")


def per_bin(path: Path, loci: Sequence[Locus], width: int, sizes: dict[str, int]) -> np.ndarray:
    """Means over the covered bases of each bin, from per-base values."""
    found = []
    with pyBigWig.open(str(path)) as file:
        for locus in loci:
            end = min(-(-locus.end // width) * width, sizes[locus.chrom])
            bases = file.values(locus.chrom, locus.start, end, numpy=True).astype(np.float64)
            each = [bases[start : start + width] for start in range(0, len(bases), width)]
            known = [part[~np.isnan(part)] for part in each]
            found += [part.mean() if part.size else np.nan for part in known]
    return np.array(found)


def check(found: Agreement, one: np.ndarray, other: np.ndarray) -> None:
    known = ~np.isnan(one) & ~np.isnan(other)
    one, other = one[known], other[known]
    peaks = other >= np.quantile(other, 0.95)
    above = stats.mannwhitneyu(one[peaks], one[~peaks], method="asymptotic").statistic
    assert (found.n_bins, found.n_left_out) == (known.sum(), (~known).sum())
    assert found.pearson == pytest.approx(stats.pearsonr(one, other)[0], abs=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(one, other)[0], abs=1e-9)
    assert found.pearson_log1p == pytest.approx(stats.pearsonr(np.log1p(one), np.log1p(other))[0], abs=1e-9)
    assert found.auroc == pytest.approx(above / (peaks.sum() * (~peaks).sum()), abs=1e-9)
    assert found.auprc == pytest.approx(slow_auprc(one, peaks), abs=1e-9)


@pytest.mark.parametrize("width", [48, 50, 128, 1000])
@pytest.mark.parametrize(
    "loci",
    [[Locus("chrA", 6000, 60_000)], [Locus("chrB", 24_000, 31_000)], WHOLE, [Locus("chrA", 0, 40_000), WHOLE[1]]],
    ids=["inside", "chromosome's end", "genome", "regions"],
)
def test_figures_are_those_of_per_base_values(pair: ComparedPair, loci: list[Locus], width: int) -> None:
    on_grid = [Locus(at.chrom, at.start // width * width, at.end) for at in loci]
    tracks = [per_bin(Path(record.path), on_grid, width, CHROMSIZES) for record in (pair.predicted, pair.observed)]
    if (~np.isnan(tracks[0]) & ~np.isnan(tracks[1])).sum() < 10:
        assert compare(pair, loci, width).pearson is None
    else:
        check(compare(pair, loci, width), *tracks)


def test_a_locus_is_widened_to_whole_bins(pair: ComparedPair) -> None:
    assert compare(pair, [Locus("chrA", 10_001, 29_999)], 1000) == compare(pair, [Locus("chrA", 10_000, 30_000)], 1000)
    overlapping = [Locus("chrA", 10_000, 20_000), Locus("chrA", 15_000, 30_000)]
    assert compare(pair, overlapping, 100) == compare(pair, [Locus("chrA", 10_000, 30_000)], 100)


def test_bins_are_the_predictions_own_or_as_many_times_wider_as_it_takes(pair: ComparedPair) -> None:
    assert pair.bin_width([Locus("chrA", 0, 48_000)], 1000) == 48
    assert pair.bin_width([Locus("chrA", 0, 48_001)], 1000) == 96
    assert pair.bin_width([Locus("chrA", 47, 48_001)], 1000) == 96  # by its place
    assert pair.bin_width([Locus("chrA", 10, 11), Locus("chrB", 10, 11)], 2) == 48
    no_provenance = replace(pair, predicted=replace(pair.predicted, provenance={}))
    assert no_provenance.bin_width(WHOLE) == 32  # its model's
    assert replace(no_provenance, card=None).bin_width(WHOLE) == 128


def test_too_many_bins_are_refused_with_a_width_that_fits(pair: ComparedPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MAX_BINS", 1000)
    with pytest.raises(InvalidRequest, match="use bins of"):
        compare(pair, WHOLE, 10)


# --- Peaks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["bed", "bed.gz", "bb"])
def peaks_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"peaks.{request.param}"
    if request.param == "bb":
        rows = [line.split("\t") for line in PEAKS.splitlines() if line.startswith("chr")]
        lines = sorted((chrom, int(start), int(end), "x") for chrom, start, end in rows)
        pybigtools.open(str(path), "w").write(CHROMSIZES, lines)
    else:
        path.write_bytes(gzip.compress(PEAKS.encode()) if path.suffix == ".gz" else PEAKS.encode())
    return path


@pytest.mark.parametrize("width", [48, 100, 3000])
def test_bins_that_lie_in_peaks_with_more_than_half_are_peaks(
    tilesets: TilesetCache, pair: ComparedPair, peaks_file: Path, width: int
) -> None:
    covered = {chrom: np.zeros(size, bool) for chrom, size in CHROMSIZES.items()}
    for line in PEAKS.splitlines():
        chrom, start, end = line.split("\t")
        if chrom in covered:
            covered[chrom][int(start) : int(end)] = True
    expected = [
        bases[start : start + width].mean() > 0.5 for bases in covered.values() for start in range(0, len(bases), width)
    ]
    peaks = peaks_from_file(tilesets, peaks_file, pair.assembly)
    assert np.concatenate([peaks.mask(locus, width) for locus in WHOLE]).tolist() == expected
    add_tileset(tilesets.site, TilesetRecord("called", "C", "observed", "tiny", str(peaks_file),
                                           filetype="bigbed" if peaks_file.suffix == ".bb" else "beddb"))  # fmt: skip
    of_uid = peaks_from_tileset(tilesets, "called")
    assert (of_uid.name, of_uid.version) == ("called", peaks.version)
    found = compare(replace(pair, peaks=of_uid), WHOLE, width)
    assert found.top is None
    known = ~np.isnan(per_bin(Path(pair.predicted.path), WHOLE, width, CHROMSIZES))
    known &= ~np.isnan(per_bin(Path(pair.observed.path), WHOLE, width, CHROMSIZES))
    assert found.prevalence == pytest.approx(np.array(expected)[known].mean())


def test_peaks_are_intervals(tilesets: TilesetCache, pair: ComparedPair) -> None:
    with pytest.raises(InvalidRequest, match="'signal' is not a peak file"):
        peaks_from_tileset(tilesets, "signal")
    with pytest.raises(InvalidRequest, match=r"signal\.bw is not a peak file"):
        peaks_from_file(tilesets, Path(pair.observed.path), pair.assembly)


# --- What may be compared --------------------------------------------------------------------------------------------


def test_what_cannot_be_compared(tilesets: TilesetCache) -> None:
    with pytest.raises(UnknownTileset):
        open_pair(tilesets, "nothing", "signal")
    with pytest.raises(InvalidRequest, match="'genes-tiny' is not a signal track"):
        open_pair(tilesets, "predicted", "genes-tiny")
    other = replace(tilesets.site.catalogue.tileset("signal"), uid="elsewhere", assembly="other")
    tilesets.site.settings.assemblies["other"] = tilesets.site.settings.assemblies["tiny"]
    tilesets.site.catalogue.put_tilesets([other])
    with pytest.raises(InvalidRequest, match="'predicted' is on tiny but 'elsewhere' is on other"):
        open_pair(tilesets, "predicted", "elsewhere")


def change_card(site: Site, **fields: Any) -> None:
    card = registry.card(site.models, "random")
    write_card(replace(card, **fields), site.models / "random" / registry.CARD)


def test_of_a_model_of_probabilities_only_the_order_counts(tilesets: TilesetCache, pair: ComparedPair) -> None:
    change_card(tilesets.site, probability=True, title="DeepSEA")
    found, plain = compare(open_pair(tilesets, "predicted", "signal"), WHOLE, 48), compare(pair, WHOLE, 48)
    assert found.notes[0] == "DeepSEA predicts the probability of a peak, so only order and peaks are compared."
    assert (found.pearson, found.spearman, found.auprc) == (None, plain.spearman, plain.auprc)


# --- Genome-wide -----------------------------------------------------------------------------------------------------


def test_genome_wide_figures_are_those_of_all_chromosomes_and_of_each_fold(tilesets: TilesetCache) -> None:
    folds = {"train": [["chrA", 0, 40_000]], "test": [["chrA", 40_000, 60_000], ["chrB", 0, 31_000]]}
    change_card(tilesets.site, provenance={"folds": folds})
    pair = open_pair(tilesets, "predicted", "signal")
    seen: list[tuple[int, int]] = []
    found = genome_wide(tilesets.site, pair, report=lambda done, total: seen.append((done, total)))
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert found["figures"] == as_json(compare(pair, WHOLE, 48))
    assert found["folds"] == {
        fold: as_json(compare(pair, [Locus(*at) for at in loci], 48)) for fold, loci in folds.items()
    }
    assert found["provenance"]["predicted"]["sha256"] == pair.predicted.sha256
    assert found["provenance"]["version"]
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def as_json(found: Agreement) -> Any:
    return json.loads(json.dumps(asdict(found)))


def test_folds_of_another_assembly_are_not_this_ones(tilesets: TilesetCache) -> None:
    change_card(tilesets.site, provenance={"folds": {"test": [["chrA", 0, 100]]}}, assemblies=("elsewhere", "tiny"))
    assert open_pair(tilesets, "predicted", "signal").folds == {}


def test_genome_wide_figures_are_computed_once(
    tilesets: TilesetCache, pair: ComparedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tilesets.site
    assert stored_agreement(site, pair) is None
    first = genome_wide(site, pair)
    with monkeypatch.context() as patched:
        patched.setattr(comparison, "compare", lambda *_: pytest.fail("they were there"))
        assert genome_wide(site, pair) == first
    assert stored_agreement(site, pair) == first
    wider = genome_wide(site, pair, 96)
    assert wider["figures"]["bin_width"] == 96
    assert stored_agreement(site, pair) in (first, wider)  # made within a second of each other
    other = replace(pair, predicted=replace(pair.predicted, sha256="0" * 64))
    assert stored_agreement(site, other) is None


def test_figures_with_peaks_are_others(tilesets: TilesetCache, pair: ComparedPair, tmp_path: Path) -> None:
    (tmp_path / "called.bed").write_text(PEAKS)
    with_peaks = replace(pair, peaks=peaks_from_file(tilesets, tmp_path / "called.bed", pair.assembly))
    found = genome_wide(tilesets.site, with_peaks)
    assert found["peaks"] == "called.bed"
    assert stored_agreement(tilesets.site, with_peaks) == found
    assert stored_agreement(tilesets.site, pair) is None


def test_a_model_that_is_gone_leaves_the_comparison(tilesets: TilesetCache, tmp_path: Path) -> None:
    (tilesets.site.models / "random").rename(tmp_path / "gone")
    pair = open_pair(tilesets, "predicted", "signal")
    assert pair.card is None
    assert genome_wide(tilesets.site, pair)["folds"] == {}


def test_a_chromosome_that_one_file_lacks_is_left_out(site: Site, tmp_path: Path) -> None:
    write_signal(tmp_path / "short.bw", {"chrA": CHROMSIZES["chrA"]}, seed=9)
    add_tileset(site, TilesetRecord("short", "S", PREDICTED, "tiny", str(tmp_path / "short.bw")))
    found = compare(open_pair(TilesetCache(site), "short", "signal"), [WHOLE[1]], 100)
    assert (found.n_bins, found.n_left_out, found.pearson) == (0, 310, None)


# --- Real tracks -----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("width", [128, 100])
def test_real_tracks(real_data: Path, tmp_path: Path, width: int) -> None:
    """Two ENCODE DNase tracks over three of the windows they cover, one of them only in part."""
    site = init_site(tmp_path / "site", "hg38")
    observed = real_data / "hg38" / "observed"
    for uid in ("ENCFF136DBS", "ENCFF785TYR"):
        site.catalogue.put_tilesets([TilesetRecord(uid, uid, "observed", "hg38", str(observed / f"{uid}.bigWig"))])
    pair = open_pair(TilesetCache(site), "ENCFF136DBS", "ENCFF785TYR")
    rows = [line.split() for line in (real_data / "hg38" / "folds.bed").read_text().splitlines()[:3]]
    loci = [Locus(chrom, int(start) // width * width, int(end) // width * width) for chrom, start, end, *_ in rows]
    sizes = pair.assembly.chromsizes
    found = compare(pair, loci, width)
    check(found, *(per_bin(observed / f"{uid}.bigWig", sorted(loci, key=_in_order(pair)), width, sizes)
                   for uid in ("ENCFF136DBS", "ENCFF785TYR")))  # fmt: skip
    assert found.n_left_out > found.n_bins * 0.9  # half of each window is not covered
    assert found.interval.keys() >= {"pearson", "spearman"}


def _in_order(pair: ComparedPair) -> Any:
    return lambda locus: (pair.assembly.chroms.index(locus.chrom), locus.start)
