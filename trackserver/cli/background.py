"""Verb that scores random variants, for percentiles: background."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.catalogue.site import assembly_for
from trackserver.cli.common import (
    ensemble_options,
    json_option,
    open_site,
    print_json,
    resume_option,
    show_count,
    site_option,
    stderr,
    tracks_option,
)
from trackserver.effects.background import PER_WINDOW, DrawOptions, build
from trackserver.genome.regions import read_bed
from trackserver.models import registry
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.option("--assembly", help="Default: one the model was trained on, if the site has it.")
@click.option("--n", "n", type=click.IntRange(1, 1_000_000), default=2000, show_default=True,
              help="Number of variants.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the random variants.")
@tracks_option
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False),
              help="Draw variants from the regions of this BED. Default: the whole genome.")  # fmt: skip
@click.option("--per-window", type=click.IntRange(1, 1000), default=PER_WINDOW, show_default=True,
              help="Variants that share a window: more is faster, but puts variants closer together.")  # fmt: skip
@click.option("--device", help="auto, cpu, cuda:0. Default: the site's setting.")
@ensemble_options(placement=True)
@resume_option
@site_option
@json_option
def background(
    model: str,
    assembly: str | None,
    n: int,
    seed: int,
    selection: str | None,
    regions: Path | None,
    per_window: int,
    device: str | None,
    ensemble: EnsembleOptions,
    resume: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Score random variants with MODEL, so that effects get percentiles.

    Example: trackserver background k562 --n 2000 --seed 1

    The percentiles hold for this model, its weights, the FASTA, and the ensemble options. They replace an earlier
    background of the same.
    """
    site = open_site(directory, device=device)
    card = registry.card(site.models, model)
    genome_assembly = site.assembly(assembly_for(site, card, assembly))
    draw = DrawOptions(n, seed, per_window, read_bed(regions, genome_assembly) if regions else None)
    with show_count("Scoring random variants") as report:
        scores = build(
            site, model, genome_assembly.name, draw,
            selection=selection, ensemble=ensemble.resolve(card), resume=resume, report=report,
        )  # fmt: skip
    if as_json:
        print_json(scores)
    stderr.print(f"Scored {n:,} variants on {len(scores['tracks'])} tracks of {model}; effects now have percentiles.")
