"""Verb for the saturation mutagenesis of a locus: ism."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import click
import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.site import Site
from trackserver.cli.common import (
    ensemble_options,
    json_option,
    open_site,
    print_json,
    print_table,
    show_count,
    site_option,
    stderr,
    tracks_option,
)
from trackserver.effects import mutagenesis
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question
from trackserver.genome.sequence import BASES, decode
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.variants.mutagenesis import SCORES, Mutagenesis

MAX_SHOWN = 3  # of the selected tracks; --output writes all
LINE_WIDTH = 80  # letters
_BAR_LINES = 3  # lines of text above the letters
_UP, _DOWN = " ▁▂▃▄▅▆▇█", " ▔▔▀▀▀▀██"  # by eighths of a line


@click.command()
@click.argument("model")
@click.argument("locus")
@tracks_option
@click.option("--assembly", help="Default: the site's own.")
@click.option("--score", type=click.Choice(list(SCORES)), help="Default: the model's own.")
@click.option("--full", is_flag=True, help="As a check, predict every alternative in full, not only what it can reach.")
@click.option("--preview", is_flag=True, help="Approximate the effects by the gradient at the reference.")
@click.option("-o", "--output", type=click.File("w", atomic=True), help="Write all tracks to this TSV instead.")
@ensemble_options()
@site_option
@json_option
def ism(
    model: str,
    locus: str,
    selection: str | None,
    assembly: str | None,
    ensemble: EnsembleOptions,
    score: str | None,
    output: IO[str] | None,
    directory: Any,
    as_json: bool,
    **options: Any,
) -> None:
    """Change every base of LOCUS to each of the other three, and score the effects (saturation mutagenesis).

    Example: trackserver ism k562 chr1:47690487-47690547 --tracks assay=DNASE

    The height of a letter is the importance of its base: minus the mean score of its alternatives. Shows the three
    first tracks of a selection; without --tracks, the track that changes most.
    """
    site = open_site(directory)
    request = MutagenesisRequest(
        model, assembly or site.default_assembly, locus, selection, ensemble, score=score or "", **options
    )
    with show_count("Changing bases") as report:
        summary = mutagenesis.compute(site, mutagenesis_question(site, request), report)
    if output:
        output.writelines(_tsv_lines(site, summary))
    elif as_json:
        print_json(summary)
    else:
        _print_tracks(site, summary, MAX_SHOWN if selection else 1)
    for warning in summary["warnings"]:
        stderr.print(f"{warning['severity'].capitalize()}: {warning['sentence']}")
    stderr.print(f"Mutagenesis {summary['id']}.")


def _print_tracks(site: Site, summary: dict[str, Any], limit: int) -> None:
    for track in summary["tracks"][:limit]:
        result = mutagenesis.load_track(site, summary, track["index"])
        click.echo(f"\n{track['index']} {track['name']}: strongest variant {track['strongest']['variant']}, "
                   f"{track['strongest']['score']:+.3g} ({summary['score']['name']})\n")  # fmt: skip
        for line in draw_letters(result):
            click.echo(line)
        print_table(["position", "ref", " importance", *(f" {base}" for base in BASES)], list(_rows(result)))
    if len(summary["tracks"]) > limit:
        stderr.print(
            f"{len(summary['tracks']) - limit:,} more tracks: write them all with -o FILE, or list them with --json."
        )
    stderr.print(f"Scores: {summary['score']['description']}.")


def draw_letters(result: Mutagenesis) -> Iterator[str]:
    """Draw the reference's letters as text, under bars of their importance in the first track."""
    letters, heights = decode(result.codes), np.nan_to_num(result.importance[0])
    scale = float(np.abs(heights).max()) or 1.0
    eighths = np.rint(heights / scale * 8 * _BAR_LINES).astype(int)
    for start in range(0, len(letters), LINE_WIDTH):
        part = eighths[start : start + LINE_WIDTH]
        yield f"{result.locus.chrom}:{result.locus.start + start + 1:,}"
        yield from (line for row in range(_BAR_LINES - 1, -1, -1) if (line := _bars(part - 8 * row, _UP)))
        yield letters[start : start + LINE_WIDTH]
        yield _bars(-part, _DOWN)


def _bars(eighths: NDArray[np.int_], glyphs: str) -> str:
    return "".join(glyphs[level] for level in np.clip(eighths, 0, 8)).rstrip()


def _rows(result: Mutagenesis) -> Iterator[list[str]]:
    """Rows of the first track's table, with a dot for the reference's own score, which is 0."""
    for at, letter in enumerate(decode(result.codes)):
        scores = result.map[0, :, at]
        if np.isnan(scores).any():
            continue
        shown = ["·" if base == letter else f"{score:+.3f}" for base, score in zip(BASES, scores, strict=True)]
        yield [f"{result.locus.start + at + 1:,}", letter, f"{result.importance[0, at]:+.3f}", *shown]


def _tsv_lines(site: Site, summary: dict[str, Any]) -> Iterator[str]:
    """A line for each track and position, counted from 1; values are empty where the reference is N."""
    profiles = ("importance", "gain", "loss")
    yield "\t".join(["track", "name", "chrom", "position", "ref", *BASES, *profiles]) + "\n"
    for track in summary["tracks"]:
        result = mutagenesis.load_track(site, summary, track["index"])
        columns = [*result.map[0], *(getattr(result, profile)[0] for profile in profiles)]
        for at, letter in enumerate(decode(result.codes)):
            values = ["" if np.isnan(column[at]) else str(column[at]) for column in columns]
            keys = [str(track["index"]), track["name"], result.locus.chrom, str(result.locus.start + at + 1), letter]
            yield "\t".join([*keys, *values]) + "\n"
