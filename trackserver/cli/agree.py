"""Verb that compares a predicted tileset with an observed one: agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from trackserver.agreement.bootstrap import DRAWS, LEVEL
from trackserver.agreement.compare import (
    ComparedPair,
    Peaks,
    compare,
    genome_wide,
    open_pair,
    peaks_from_file,
    peaks_from_tileset,
)
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.cli.common import json_option, open_site, print_json, print_table, show_progress, site_option, stderr
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
@click.option("--locus", help="Such as chr1:1,000,001-2,000,000. Default: the whole genome.")
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False), help="Compare the regions of this BED.")
@click.option("--bin", "bin_width", type=click.IntRange(1), help="bp. Default: the predictions' own bins, or wider.")
@click.option("--peaks", help="A tileset or a BED file. Default: the top 5 % of the observed bins.")
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
    """Compare the tileset PREDICTED with the tileset OBSERVED, named by their uids.

    Example: trackserver agree k562-t0 ENCFF136DBS --locus chr1:1,000,001-2,000,000

    Genome-wide figures, also for each fold of the model's training, are computed once, stored, and shown on the page.
    """
    if locus and regions:
        raise click.UsageError("Give --locus or --regions, not both.")
    tilesets = TilesetCache(open_site(directory))
    pair = open_pair(tilesets, predicted, observed)
    if peaks:
        pair = replace(pair, peaks=_open_peaks(tilesets, peaks, pair))
    loci = _read_loci(pair, locus, regions)
    with show_progress("Comparing") as report:
        if loci:
            agreement = _compare_loci(pair, loci, bin_width, report)
        else:
            agreement = genome_wide(tilesets.site, pair, bin_width, report)
    if as_json:
        print_json(agreement)
    else:
        _print_figures({"all": agreement["figures"]} | agreement.get("folds", {}))


def _compare_loci(pair: ComparedPair, loci: list[Locus], bin_width: int | None, report: Progress) -> dict[str, Any]:
    return {**pair.names, "figures": asdict(compare(pair, loci, bin_width or pair.bin_width(loci), report))}


def _read_loci(pair: ComparedPair, locus: str | None, regions: Path | None) -> list[Locus]:
    """The loci to compare; empty for the whole genome."""
    if regions:
        return read_bed(regions, pair.assembly)
    return [pair.assembly.check(parse_locus(locus))] if locus else []


def _open_peaks(tilesets: TilesetCache, peaks: str, pair: ComparedPair) -> Peaks:
    """Open peaks given as a file or as a uid."""
    file = Path(peaks)
    return peaks_from_file(tilesets, file, pair.assembly) if file.is_file() else peaks_from_tileset(tilesets, peaks)


def _print_figures(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a column of figures for all loci together, and for each fold."""
    columns = list(figures.values())
    rows = [(name, *(_figure(column, figure) for column in columns)) for figure, name in ROWS.items()]
    rows += [
        ("bins in peaks", *(_share(column["prevalence"]) for column in columns)),
        ("bins", *(f"{column['n_bins']:,}" for column in columns)),
        ("bins left out", *(f"{column['n_left_out']:,}" for column in columns)),
        ("windows", *(f"{column['n_windows']:,} of {column['window']:,} bp" for column in columns)),
    ]
    print_table(["", *(f" {name}" for name in figures)], rows)
    for note in dict.fromkeys(note for column in columns for note in column["notes"]):
        stderr.print(note)
    top = columns[0]["top"]
    stderr.print(
        f"Bins of {columns[0]['bin_width']:,} bp. "
        f"In brackets: {LEVEL:.0%} bootstrap interval, {DRAWS} draws of the windows."
        + (f" Peaks: the top {top:.0%} of the observed bins." if top else "")
    )


def _figure(column: Mapping[str, Any], figure: str) -> str:
    if column[figure] is None:
        return "-"
    interval = column["interval"].get(figure)
    return f"{column[figure]:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _share(prevalence: float | None) -> str:
    return "-" if prevalence is None else f"{prevalence:.1%}"
