"""The verb that holds a predicted tileset against a measured one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from trackserver.agreement.bootstrap import DRAWS, LEVEL
from trackserver.agreement.compare import Pair, Peaks, compare, genome_wide, pair, peaks_in, peaks_of
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.cli.common import json_option, open_site, print_json, print_table, progress, site_option, stderr
from trackserver.genome.locus import Locus, parse_locus
from trackserver.genome.regions import read_bed
from trackserver.progress import Progress

ROWS = {
    "pearson": "Pearson r",
    "window_mean": "r in a window, mean",
    "pearson_log1p": "r of log(1 + y)",
    "spearman": "Spearman rho",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


@click.command()
@click.argument("predicted")
@click.argument("observed")
@click.option("--locus", help="Such as chr1:1,000,001-2,000,000; the whole genome by default.")
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False), help="BED of what to compare.")
@click.option("--bin", "bin_width", type=click.IntRange(1), help="bp; by default the predictions' own bins, or wider.")
@click.option("--peaks", help="A tileset or a BED file; by default the top 5 % of the measured bins are the peaks.")
@site_option
@json_option
def agree(
    predicted: str,
    observed: str,
    locus: str | None,
    regions: Path | None,
    bin_width: int | None,
    peaks: str | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """How well the tileset PREDICTED agrees with the tileset OBSERVED, by their uids.

    Example: trackserver agree k562-t0 ENCFF136DBS --locus chr1:1,000,001-2,000,000

    Genome-wide figures, also of each fold of the model's training, are computed once, kept, and shown at the track.
    """
    if locus and regions:
        raise click.UsageError("Give --locus or --regions.")
    opened = TilesetCache(open_site(directory))
    two = pair(opened, predicted, observed)
    if peaks:
        two = replace(two, peaks=_peaks(opened, peaks, two))
    loci = _loci(two, locus, regions)
    with progress("Comparing") as report:
        found = _compared(two, loci, bin_width, report) if loci else genome_wide(opened.site, two, bin_width, report)
    if as_json:
        print_json(found)
    else:
        _show({"": found["figures"]} | found.get("folds", {}))


def _compared(two: Pair, loci: list[Locus], bin_width: int | None, report: Progress) -> dict[str, Any]:
    return {**two.named, "figures": asdict(compare(two, loci, bin_width or two.bin_width(loci), report))}


def _loci(two: Pair, locus: str | None, regions: Path | None) -> list[Locus]:
    """What is to be compared; empty for the whole genome."""
    if regions:
        return read_bed(regions, two.assembly)
    return [two.assembly.check(parse_locus(locus))] if locus else []


def _peaks(opened: TilesetCache, given: str, two: Pair) -> Peaks:
    """By uid, or of a file."""
    file = Path(given)
    return peaks_in(opened, file, two.assembly) if file.is_file() else peaks_of(opened, given)


def _show(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """A column each for all that was compared, which has no name, and for each fold."""
    each = list(parts.values())
    rows = [(name, *(_figure(part, figure) for part in each)) for figure, name in ROWS.items()]
    rows += [
        ("bins that are peaks", *(_share(part["prevalence"]) for part in each)),
        ("bins", *(f"{part['n_bins']:,}" for part in each)),
        ("bins left out", *(f"{part['n_left_out']:,}" for part in each)),
        ("windows", *(f"{part['n_windows']:,} of {part['window']:,} bp" for part in each)),
    ]
    print_table(["", *(f" {fold or 'all'}" for fold in parts)], rows)
    for sentence in dict.fromkeys(sentence for part in each for sentence in part["said"]):
        stderr.print(sentence)
    top = each[0]["top"]
    stderr.print(
        f"Bins of {each[0]['bin_width']:,} bp. In brackets: where {LEVEL:.0%} of {DRAWS} draws of the windows lie."
        + (f" Peaks: the top {top:.0%} of the measured bins." if top else "")
    )


def _figure(part: Mapping[str, Any], figure: str) -> str:
    if part[figure] is None:
        return "-"
    low_high = part["interval"].get(figure)
    return f"{part[figure]:.3f}" + (f" ({low_high[0]:.3f} to {low_high[1]:.3f})" if low_high else "")


def _share(prevalence: float | None) -> str:
    return "-" if prevalence is None else f"{prevalence:.1%}"
