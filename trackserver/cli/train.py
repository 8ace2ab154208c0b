"""Verb that fits a model to observed tracks: train."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.cli.common import format_metric, open_site, print_table, show_stages, site_option, stderr
from trackserver.errors import InvalidRequest, needing_torch
from trackserver.models.card import ModelCard
from trackserver.training.site_tracks import training_tracks
from trackserver.training.targets import Loss


@click.command()
@click.argument("architecture", metavar="MODEL", type=click.Choice(["compact"]))
@click.option(
    "--tracks",
    "selection",
    help="Observed tilesets: 0-9,25 (in order of uid), assay=DNASE, or a name glob. Default: all.",
)
@click.option("--folds", "folds_file", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="BED whose fourth column is train, valid or test.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The new model's directory; a bare name goes into the site, ready for use.")  # fmt: skip
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Network and training settings, in TOML.")  # fmt: skip
@click.option("--loss", type=click.Choice(["signal", "poisson", "peaks"]), default="signal", show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop training after this long.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
@click.option("--assembly", help="Default: the site's own.")
@site_option
def train(
    architecture: str,
    selection: str | None,
    folds_file: Path,
    output: Path,
    recipe_file: Path | None,
    loss: Loss,
    assembly: str | None,
    directory: Path | None,
    minutes: float | None,
    seed: int,
    device: str,
    overwrite: bool,
) -> None:
    """Fit MODEL to the site's observed bigWigs.

    Example: trackserver train compact --tracks assay=DNASE --folds folds.bed -o k562 --minutes 5
    """
    with needing_torch():
        from trackserver.training.train import TrainingRun, read_folds, read_recipe
        from trackserver.training.train import train as fit
    site = open_site(directory)
    name = assembly or site.default_assembly
    genome_assembly = site.assembly(name)
    target = site.models / output if output.parent == Path(".") and not output.is_absolute() else output
    if not target.resolve().parent.is_dir():
        raise InvalidRequest(f"There is no directory {target.resolve().parent} for the model; make it first.")
    with show_stages("Training") as report:
        card = fit(
            training_tracks(site, name, selection, loss), site.reference(name).genome,
            read_folds(folds_file, genome_assembly),
            target,
            assembly=genome_assembly, recipe=read_recipe(recipe_file) if recipe_file else None,
            run=TrainingRun(minutes, seed, device), overwrite=overwrite, progress=report,
        )  # fmt: skip
    _print_metrics(card)
    stderr.print(f"Wrote {target}. The metrics compare predicted with observed bins in each fold's windows.")


def _print_metrics(card: ModelCard) -> None:
    names = ("pearson", "window_pearson", "log1p_pearson", "spearman", "auprc")
    rows = [
        (
            fold,
            track.index,
            track.name,
            *(format_metric(card.metrics[fold].get(name, []), track.index) for name in names),
        )
        for fold in card.metrics
        for track in card.tracks
    ]
    print_table(["fold", "track", "name", " r", " r a window", " r of log", " rho", " AUPRC"], rows)
