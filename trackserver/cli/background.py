"""The verb that finds out what random variants do to a model's tracks."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.catalogue.site import assembly_for
from trackserver.cli.common import (
    counting,
    ensemble_options,
    json_option,
    open_site,
    print_json,
    site_option,
    stderr,
)
from trackserver.effects.background import PER_WINDOW, Draws, build
from trackserver.genome.regions import read_bed
from trackserver.models import registry
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.option("--assembly", help="By default the one the model was trained on, where the site has it.")
@click.option("--n", "n", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="How many variants.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Which random variants.")
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False),
              help="BED to draw them from; the whole genome by default.")  # fmt: skip
@click.option("--per-window", type=click.IntRange(1, 1000), default=PER_WINDOW, show_default=True,
              help="Variants that share a window: more are faster, and lie nearer to each other.")  # fmt: skip
@click.option("--device", help="auto, cpu, cuda:0; by default the site's setting.")
@ensemble_options(placement=True)
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same question was stopped.")
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
    """Score random variants with MODEL, so that effects are given percentiles.

    Example: trackserver background k562 --n 2000 --seed 1

    They hold for this model, its weights, FASTA and way of reading; an earlier background of the same is replaced.
    """
    site = open_site(directory, device=device)
    card = registry.card(site.models, model)
    lies_on = site.assembly(assembly_for(site, card, assembly))
    with counting("Scoring random variants") as report:
        made = build(
            site, model, lies_on.name, Draws(n, seed, per_window, read_bed(regions, lies_on) if regions else None),
            selection=selection, ensemble=ensemble.of(card), resume=resume, report=report,
        )  # fmt: skip
    if as_json:
        print_json(made)
    stderr.print(f"{n:,} variants on {len(made['tracks'])} tracks of {model}: effects now have percentiles.")
