"""The verb that fits a model to measured tracks."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.cli.common import figure, open_site, print_table, progress_said, site_option, stderr
from trackserver.errors import InvalidRequest, needing_torch
from trackserver.models.card import ModelCard
from trackserver.training.site_tracks import training_tracks
from trackserver.training.targets import Loss


@click.command()
@click.argument("architecture", metavar="MODEL", type=click.Choice(["compact"]))
@click.option("--tracks", "selection", help="Measured tilesets: 0-9,25 (by uid), assay=DNASE or a name glob.")
@click.option("--folds", "folds_file", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="BED whose fourth column is train, valid or test.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The new model's directory; a bare name goes into the site and is ready to be used.")  # fmt: skip
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path, dir_okay=False),
              help="TOML of network and training settings.")  # fmt: skip
@click.option("--loss", type=click.Choice(["signal", "poisson", "peaks"]), default="signal", show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop training after this long.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace a model that is there already.")
@click.option("--assembly", help="By default the site's own.")
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
    """Fit MODEL to the site's measured bigWigs.

    Example: trackserver train compact --tracks assay=DNASE --folds folds.bed -o k562 --minutes 5
    """
    with needing_torch():
        from trackserver.training.train import TrainingRun, read_folds, read_recipe
        from trackserver.training.train import train as fit
    site = open_site(directory)
    name = assembly or site.default_assembly
    lies_on = site.assembly(name)
    target = site.models / output if output.parent == Path(".") and not output.is_absolute() else output
    if not target.resolve().parent.is_dir():
        raise InvalidRequest(f"There is no directory {target.resolve().parent} to put the model in.")
    with progress_said("Training") as report:
        card = fit(
            training_tracks(site, name, selection, loss), site.reference(name).genome, read_folds(folds_file, lies_on),
            target,
            assembly=lies_on, recipe=read_recipe(recipe_file) if recipe_file else None,
            run=TrainingRun(minutes, seed, device), overwrite=overwrite, progress=report,
        )  # fmt: skip
    _print_metrics(card)
    stderr.print(f"Wrote {target}. The figures compare predicted with measured bins of each fold's windows.")


def _print_metrics(card: ModelCard) -> None:
    names = ("pearson", "window_pearson", "log1p_pearson", "spearman", "auprc")
    rows = [
        (fold, track.index, track.name, *(figure(card.metrics[fold].get(name, []), track.index) for name in names))
        for fold in card.metrics
        for track in card.tracks
    ]
    print_table(["fold", "track", "name", " r", " r a window", " r of log", " rho", " AUPRC"], rows)
