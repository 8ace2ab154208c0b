"""Verbs about models: models, train."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue.learning import training_tracks
from trackserver.cli.common import json_option, open_site, print_json, print_table, progress_said, site_option, stderr
from trackserver.errors import InvalidRequest, NeedsTorch
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.predict.targets import Loss


@click.group(invoke_without_command=True)
@site_option
@json_option
@click.pass_context
def models(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """The models installed on the site; `models show ID` for one of them."""
    if ctx.invoked_subcommand:
        return
    site = open_site(directory)
    cards = [registry.card(site.models, model_id) for model_id in registry.installed(site.models)]
    if as_json:
        print_json([_summary(card) for card in cards])
        return
    columns = ["id", "title", "assembly", " tracks", " window", " bin"]
    print_table(columns, [(c.id, c.title, c.assembly, len(c.tracks), c.window, c.bin_width) for c in cards])


@models.command()
@click.argument("model_id")
@site_option
@json_option
def show(model_id: str, directory: Path | None, as_json: bool) -> None:
    """A model's card: what it reads, its tracks, how well it does."""
    card = registry.card(open_site(directory).models, model_id)
    if as_json:
        print_json(asdict(card))
        return
    for name, value in _summary(card).items():
        click.echo(f"{name:15} {value}")
    test = card.metrics.get("test", {}).get("pearson", [])
    print_table(["track", "name", "assay", "biosample", "target", "strand", " r (test)"], [
        (t.index, t.name, t.assay, t.biosample, t.target, t.strand, _figure(test, t.index)) for t in card.tracks
    ])  # fmt: skip


def _figure(values: list[Any], index: int) -> str:
    return f"{values[index]:.3f}" if index < len(values) and values[index] is not None else ""


def _summary(card: ModelCard) -> dict[str, Any]:
    described = "id title summary architecture assembly window crop bin_width licence citation weights_sha256"
    return {name: getattr(card, name) for name in described.split()} | {"tracks": len(card.tracks)}


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
    **how: Any,
) -> None:
    """Fit MODEL to the site's measured bigWigs.

    Example: trackserver train compact --tracks assay=DNASE --folds folds.bed -o k562 --minutes 5
    """
    try:
        from trackserver.predict.training import read_folds, read_recipe
        from trackserver.predict.training import train as fit
    except ImportError as error:
        raise NeedsTorch() from error
    site = open_site(directory)
    name = assembly or site.default_assembly
    lies_on = site.assembly(name)
    target = site.models / output if output.parent == Path(".") and not output.is_absolute() else output
    if not target.resolve().parent.is_dir():
        raise InvalidRequest(f"There is no directory {target.resolve().parent} to put the model in.")
    with progress_said("Training") as report:
        card = fit(
            training_tracks(site, name, selection, loss), site.genome(name), read_folds(folds_file, lies_on), target,
            assembly=lies_on, recipe=read_recipe(recipe_file) if recipe_file else None, progress=report, **how,
        )  # fmt: skip
    _print_metrics(card)
    stderr.print(f"Wrote {target}. The figures compare predicted with measured bins of each fold's windows.")


def _print_metrics(card: ModelCard) -> None:
    names = ("pearson", "window_pearson", "log1p_pearson", "spearman", "auprc")
    rows = [
        (fold, track.index, track.name, *(_figure(card.metrics[fold].get(name, []), track.index) for name in names))
        for fold in card.metrics
        for track in card.tracks
    ]
    print_table(["fold", "track", "name", " r", " r a window", " r of log", " rho", " AUPRC"], rows)
