"""Verbs that ask a model: predict, variant."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue import effects
from trackserver.catalogue.prediction import assembly_for, predict_tracks
from trackserver.catalogue.questions import ask
from trackserver.cli.common import (
    counting,
    json_option,
    open_site,
    print_json,
    print_table,
    reading_options,
    site_option,
    stderr,
)
from trackserver.models import registry
from trackserver.predict.reading import reading
from trackserver.predict.windows import read_bed


@click.command()
@click.argument("model")
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False), help="BED; the whole genome by default.")
@click.option("--assembly", help="By default the one the model was trained on, where the site has it.")
@click.option("--stride", type=click.IntRange(1), help="bp between windows, for models that give one value a window.")
@click.option("--device", help="auto, cpu, cuda:0; by default the site's setting.")
@reading_options
@click.option("--batch-size", type=click.IntRange(1, 1024), default=4, show_default=True, help="Memory, not numbers.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same question was stopped.")
@site_option
@json_option
def predict(
    model: str,
    regions: Path | None,
    assembly: str | None,
    ensemble: tuple[str, ...],
    shifts: tuple[int, ...] | None,
    squashed: bool,
    directory: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Predict MODEL's tracks along the genome into bigWigs, and register them.

    Example: trackserver predict k562 --tracks assay=DNASE --regions test.bed
    """
    site = open_site(directory)
    card = registry.card(site.models, model)
    lies_on = site.assembly(assembly_for(site, card, assembly))
    with counting("Predicting windows") as report:
        records = predict_tracks(
            site, model, assembly=lies_on.name, regions=read_bed(regions, lies_on) if regions else None,
            how=reading(card, ensemble or None, shifts, squashed), report=report, **how,
        )  # fmt: skip
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        print_table(["uid", "name", " MB"], [(r.uid, r.name, f"{r.size / 1e6:.1f}") for r in records])


@click.command()
@click.argument("model")
@click.argument("variants", nargs=-1, required=True)
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--assembly", help="By default the site's own.")
@click.option("--lift-from", default="", metavar="ASSEMBLY", help="The assembly VARIANTS are written on, if another.")
@click.option("--full", is_flag=True, help="Two full predictions, to check with, rather than what a change can reach.")
@reading_options
@site_option
@json_option
def variant(
    model: str,
    variants: tuple[str, ...],
    selection: str | None,
    assembly: str | None,
    ensemble: tuple[str, ...],
    shifts: tuple[int, ...] | None,
    squashed: bool,
    full: bool,
    lift_from: str,
    directory: Path | None,
    as_json: bool,
) -> None:
    """The effect of VARIANTS on MODEL's tracks; several are one haplotype.

    Example: trackserver variant k562 chr1:47690516:C:T

    Written also as 1-47690516-C-T, chr1:g.47690516C>T, a line of a VCF or, where the site has a table, an rsID.
    Positions are counted from 1. REF, ALT and Δ are the values of the bin that changes most.
    """
    site = open_site(directory)
    question = ask(
        site, model, assembly or site.default_assembly, variants, selection,
        ensemble=ensemble or None, shifts=shifts, squashed=squashed, full=full, lift_from=lift_from,
    )  # fmt: skip
    found = effects.compute(site, question)
    if as_json:
        print_json(found)
        return
    columns = ["track", "name", " REF", " ALT", " Δ", " log2FC", " SAD", "bin"]
    print_table(columns, [
        (t["index"], t["name"], f"{t['ref']:.3g}", f"{t['alt']:.3g}", f"{t['delta']:+.3g}", f"{t['log2fc']:+.3f}",
         f"{t['sad']:+.3g}", f"{t['at']['chrom']}:{t['at']['start'] + 1:,}")
        for t in found["tracks"]
    ])  # fmt: skip
    for sentence in found["lifted"]:
        stderr.print(sentence)
    for warning in found["warnings"]:
        stderr.print(f"{warning['severity'].capitalize()}: {warning['sentence']}")
    near = found["variants"][0]["nearest_gene"]
    stderr.print(
        f"Effect {found['id']}" + (f"; nearest gene {near['name']}, {near['distance']:,} bp." if near else ".")
    )
