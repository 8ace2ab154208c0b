"""The verb that changes every base: ism, saturation mutagenesis of a locus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import click
import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.site import Site
from trackserver.cli.common import (
    counting,
    ensemble_options,
    json_option,
    open_site,
    print_json,
    print_table,
    site_option,
    stderr,
)
from trackserver.effects import mutagenesis as store
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question
from trackserver.genome.sequence import BASES, decode
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.variants.mutagenesis import SCORES, Mutagenesis

SHOWN = 3  # tables of tracks that were chosen; a file has all of them
WIDTH = 80  # letters a line
_LINES = 3  # of text above the letters
_UP, _DOWN = " ▁▂▃▄▅▆▇█", " ▔▔▀▀▀▀██"  # by eighths of a line


@click.command()
@click.argument("model")
@click.argument("locus")
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--assembly", help="By default the site's own.")
@click.option("--score", type=click.Choice(list(SCORES)), help="By default the model's own.")
@click.option("--full", is_flag=True, help="Every alternative in full, to check with, rather than what it can reach.")
@click.option("--preview", is_flag=True, help="Approximate, from the slope at the reference (gradient x input).")
@click.option("-o", "--output", type=click.File("w", atomic=True), help="Write all tracks as TSV instead.")
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
    **how: Any,
) -> None:
    """What each of the three other bases at every position of LOCUS changes (saturation mutagenesis).

    Example: trackserver ism k562 chr1:47690487-47690547 --tracks assay=DNASE

    Letters are drawn as high as the base is important: less the mean score of its alternatives. Of all tracks the one
    that changes most is shown, of chosen tracks the first three.
    """
    site = open_site(directory)
    request = MutagenesisRequest(
        model, assembly or site.default_assembly, locus, selection, ensemble, score=score or "", **how
    )
    with counting("Changing bases") as report:
        found = store.compute(site, mutagenesis_question(site, request), report)
    if output:
        output.writelines(_tsv(site, found))
    elif as_json:
        print_json(found)
    else:
        _show(site, found, SHOWN if selection else 1)
    for warning in found["warnings"]:
        stderr.print(f"{warning['severity'].capitalize()}: {warning['sentence']}")
    stderr.print(f"Mutagenesis {found['id']}.")


def _show(site: Site, found: dict[str, Any], most: int) -> None:
    for track in found["tracks"][:most]:
        result = store.of_track(site, found, track["index"])
        click.echo(f"\n{track['index']} {track['name']}: most by {track['strongest']['variant']}, "
                   f"{track['strongest']['score']:+.3g} ({found['score']['name']})\n")  # fmt: skip
        for line in picture(result):
            click.echo(line)
        print_table(["position", "ref", " importance", *(f" {base}" for base in BASES)], list(_rows(result)))
    if len(found["tracks"]) > most:
        stderr.print(
            f"{len(found['tracks']) - most:,} more tracks: -o FILE writes them all, --json says what they are."
        )
    stderr.print(f"Scores: {found['score']['words']}.")


def picture(result: Mutagenesis) -> Iterator[str]:
    """The reference's letters under bars of their importance in the map's first track, as text."""
    letters, heights = decode(result.codes), np.nan_to_num(result.importance[0])
    scale = float(np.abs(heights).max()) or 1.0
    eighths = np.rint(heights / scale * 8 * _LINES).astype(int)
    for start in range(0, len(letters), WIDTH):
        part = eighths[start : start + WIDTH]
        yield f"{result.locus.chrom}:{result.locus.start + start + 1:,}"
        yield from (line for row in range(_LINES - 1, -1, -1) if (line := _bars(part - 8 * row, _UP)))
        yield letters[start : start + WIDTH]
        yield _bars(-part, _DOWN)


def _bars(eighths: NDArray[np.int_], glyphs: str) -> str:
    return "".join(glyphs[level] for level in np.clip(eighths, 0, 8)).rstrip()


def _rows(result: Mutagenesis) -> Iterator[list[str]]:
    """Of the map's first track; the reference's own score, which is 0, as a dot."""
    for at, letter in enumerate(decode(result.codes)):
        scores = result.map[0, :, at]
        if np.isnan(scores).any():
            continue
        shown = ["·" if base == letter else f"{score:+.3f}" for base, score in zip(BASES, scores, strict=True)]
        yield [f"{result.locus.start + at + 1:,}", letter, f"{result.importance[0, at]:+.3f}", *shown]


def _tsv(site: Site, found: dict[str, Any]) -> Iterator[str]:
    """A line a track and position, counted from 1; empty where the reference is N."""
    lines = ("importance", "gain", "loss")
    yield "\t".join(["track", "name", "chrom", "position", "ref", *BASES, *lines]) + "\n"
    for track in found["tracks"]:
        result = store.of_track(site, found, track["index"])
        columns = [*result.map[0], *(getattr(result, line)[0] for line in lines)]
        for at, letter in enumerate(decode(result.codes)):
            values = ["" if np.isnan(column[at]) else str(column[at]) for column in columns]
            place = [str(track["index"]), track["name"], result.locus.chrom, str(result.locus.start + at + 1), letter]
            yield "\t".join([*place, *values]) + "\n"
