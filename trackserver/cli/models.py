"""Verbs for the zoo: list models, show a model's card, and install its weights."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.cli.common import (
    format_metric,
    json_option,
    open_site,
    print_json,
    print_table,
    show_transfer,
    site_option,
    stderr,
)
from trackserver.errors import DataError, SiteMissing
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.models.install import InstallFiles, copy_model, default_track_name, download_model, install
from trackserver.models.zoo import PublishedModel, published_models, read_own_card, read_published_model

PATH = click.Path(path_type=Path, exists=True)


@click.group(invoke_without_command=True)
@site_option
@json_option
@click.pass_context
def models(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """List the models on the site, and the published models that it could have.

    `models show ID` describes one.
    """
    if ctx.invoked_subcommand:
        return
    installed = _installed_cards(directory)
    missing = [about for model_id, about in published_models().items() if model_id not in installed]
    if as_json:
        summaries = [_summary(card) | {"installed": True} for card in installed.values()]
        summaries += [_summary(about) | {"installed": False, "get": install_command(about)} for about in missing]
        print_json(summaries)
        return
    rows = [(card.id, card.title, *_sizes(card, len(card.tracks)), "on this site") for card in installed.values()]
    rows += [(about.id, about.title, *_sizes(about, about.n_tracks), _source(about)) for about in missing]
    print_table(["id", "model", " reads", "predicts", "assembly", "weights"], rows)
    stderr.print(
        "Fetch: `trackserver models fetch ID`. By hand: `trackserver models show ID` tells where to get the file."
    )


def _installed_cards(directory: Path | None) -> dict[str, ModelCard]:
    try:
        folder = open_site(directory).models
    except SiteMissing:
        if directory:
            raise
        stderr.print("There is no site here, so no model is installed; make one with `trackserver init`.")
        return {}
    cards = {}
    for model_id in registry.installed_models(folder):
        try:
            cards[model_id] = registry.card(folder, model_id)
        except DataError as error:
            stderr.print(f"{model_id}: {error}")
    return cards


def _sizes(about: ModelCard | PublishedModel, n_tracks: int) -> tuple[str, ...]:
    reads = f"{about.window:,} bp" if about.window < 1000 else f"{about.window / 1000:.0f} kb"
    kind = (
        ("probability" if n_tracks == 1 else "probabilities") if about.probability else "signal" + "s" * (n_tracks > 1)
    )
    bins = "" if about.window - 2 * about.crop == about.bin_width else f", {about.bin_width} bp"
    return reads, f"{n_tracks:,} {kind}{bins}", ", ".join(about.assemblies)


def _source(about: PublishedModel) -> str:
    if about.files:
        return "fetch"
    return "by hand; non-commercial" if about.restricted else "by hand"


def install_command(about: PublishedModel) -> str:
    """The command that installs a published model."""
    if about.files:
        return f"trackserver models fetch {about.id}"
    return f"trackserver models install {about.id} FILE" + (" (non-commercial)" if about.restricted else "")


@models.command()
@click.argument("model_id")
@site_option
@json_option
def show(model_id: str, directory: Path | None, as_json: bool) -> None:
    """Show a model's card: its input and output, its tracks, its metrics, or how to install it."""
    card = _installed_cards(directory).get(model_id)
    about = card or read_published_model(model_id)
    if as_json:
        print_json(asdict(about))
        return
    for name, value in _facts(about).items():
        click.echo(f"{name:15} {value}")
    if card:
        test = card.metrics.get("test", {}).get("pearson", [])
        print_table(["track", "name", "assay", "biosample", "target", "strand", " r (test)"], [
            (t.index, t.name, t.assay, t.biosample, t.target, t.strand, format_metric(test, t.index))
            for t in card.tracks
        ])  # fmt: skip


def _summary(about: ModelCard | PublishedModel) -> dict[str, Any]:
    fields = (
        "id", "title", "summary", "architecture", "assemblies", "window", "crop", "bin_width", "shortest", "n_value",
        "placement", "strands", "head", "probability", "licence", "citation", "page",
    )  # fmt: skip
    n_tracks = len(about.tracks) if isinstance(about, ModelCard) else about.n_tracks
    return {name: getattr(about, name) for name in fields} | {"tracks": n_tracks}


def _facts(about: ModelCard | PublishedModel) -> dict[str, Any]:
    """Describe a card for people."""
    n_bins = (about.window - 2 * about.crop) // about.bin_width
    output = f"{n_bins:,} values for each track, each {about.bin_width} bp wide"
    placement = (
        "in a window whose bins lie on the genome-wide grid"
        if about.placement == "grid"
        else "at 0-based window / 2 - 1"
    )
    facts = {
        "id": about.id,
        "title": about.title,
        "summary": about.summary,
        "assembly": ", ".join(about.assemblies),
        "reads": f"{about.window:,} bp" + (f" (or less, down to {about.shortest:,})" if about.shortest else ""),
        "predicts": output if n_bins > 1 else f"one value for each track, for the {about.bin_width} bp at the centre",
        "tracks": f"{_summary(about)['tracks']:,} " + ("probabilities" if about.probability else "signals"),
        "unknown base": f"{about.n_value} in all four rows",
        "a variant lies": placement,
        "strands": "mean of both by default" if about.strands == "average" else "forward by default",
        "licence": about.licence,
        "citation": about.citation,
        "published at": about.page,
    }
    if isinstance(about, PublishedModel):
        facts |= {"its file's bases": about.alphabet, "get it": install_command(about)}
    else:
        facts |= {"weights SHA-256": about.weights_sha256}
    return {name: value for name, value in facts.items() if value}


_install_options = (
    click.option("--as", "name", help="The model's id on the site. Default: the published id."),
    click.option("--overwrite", is_flag=True, help="Replace an installed model of that id."),
    site_option,
)


def _add_install_options(command: Any) -> Any:
    for option in reversed(_install_options):
        command = option(command)
    return command


@models.command("install")
@click.argument("model_id", metavar="ID")
@click.argument("file", type=PATH)
@click.option("--labels", type=PATH, help="The published table of tracks; for your own model, a TSV with a header.")
@click.option("--card", "card_file", type=PATH, help="Card of your own model (TorchScript or torch.export), in TOML.")
@click.option(
    "--alphabet", default="", help="Order of bases in the file's first layer, if it differs from the published one."
)
@click.option("--activation", type=click.Choice(["", "sigmoid", "tanh"]), default="",
              help="Form of Basenji2's GELU, if the file holds only weights.")  # fmt: skip
@click.option("--projection", type=PATH, help="projvec_targets.npy, for Sei's sequence classes.")
@_add_install_options
def install_(
    model_id: str,
    file: Path,
    card_file: Path | None,
    name: str | None,
    overwrite: bool,
    directory: Path | None,
    **files: Any,
) -> None:
    """Install a model from FILE: published weights, a program with its card, or a model's directory.

    Example: trackserver models install basenji2 model_human.h5 --labels targets_human.txt

    For a TensorFlow checkpoint, give its .index file. Nothing in a file of weights is executed. A program (--card) is
    executed only if it consists of arithmetic on tensors, in its own process, which cannot write files and has limits
    on memory and time.
    """
    site = open_site(directory)
    site.check_writable()
    if file.is_dir():
        _report_installed(copy_model(site.models, file, name or model_id, overwrite=overwrite))
        return
    about = read_own_card(card_file, model_id) if card_file else read_published_model(model_id)
    _report_installed(install(site.models, about, InstallFiles(file, **files), name, overwrite=overwrite))


@models.command()
@click.argument("model_id", metavar="ID")
@click.option("--url", multiple=True, help="Download the weights from here; repeat it for each file of the model.")
@click.option("--labels-url", help="Download the table of tracks from here.")
@click.option("--no-labels", is_flag=True, help="Number the tracks instead of naming them from a table.")
@_add_install_options
def fetch(
    model_id: str,
    url: tuple[str, ...],
    labels_url: str | None,
    no_labels: bool,
    name: str | None,
    overwrite: bool,
    directory: Path | None,
) -> None:
    """Download a published model, check it, and install it.

    If the download is interrupted, run the same command again to continue it.
    """
    site = open_site(directory)
    site.check_writable()
    about = read_published_model(model_id)
    registry.check_free(site.models, name or model_id, overwrite)
    folder = site.cache / "downloads" / about.id
    with show_transfer(f"Fetching {about.title}") as report:
        source = download_model(about, folder, url, None if no_labels else labels_url or about.table, report)
    _report_installed(install(site.models, about, source, name, overwrite=overwrite))
    shutil.rmtree(folder)


def _report_installed(card: ModelCard) -> None:
    licence = f" Licence: {card.licence}." if card.licence else ""
    stderr.print(f"Installed {card.title} as '{card.id}', with {len(card.tracks):,} tracks.{licence}")
    if len(card.tracks) > 1 and card.tracks[0].name == default_track_name(0):
        stderr.print("Its tracks have only numbers; to name them, install it again with --labels TABLE --overwrite.")
