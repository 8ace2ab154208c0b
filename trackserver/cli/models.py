"""The zoo: what models there are, what is known of each, and how its weights get here."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.cli.common import (
    figure,
    json_option,
    open_site,
    print_json,
    print_table,
    site_option,
    stderr,
    transferring,
)
from trackserver.errors import DataError, SiteMissing
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.models.install import Source, copy_model, download, install, unnamed
from trackserver.models.zoo import Published, published, read_own_card, read_published

PATH = click.Path(path_type=Path, exists=True)


@click.group(invoke_without_command=True)
@site_option
@json_option
@click.pass_context
def models(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """The models there are: those on the site, and the published ones it could have.

    `models show ID` says more of one.
    """
    if ctx.invoked_subcommand:
        return
    here = _installed(directory)
    missing = [about for model_id, about in published().items() if model_id not in here]
    if as_json:
        listed = [_summary(card) | {"installed": True} for card in here.values()]
        print_json(listed + [_summary(about) | {"installed": False, "get": how_to_get(about)} for about in missing])
        return
    rows = [(card.id, card.title, *_sizes(card, len(card.tracks)), "on this site") for card in here.values()]
    rows += [(about.id, about.title, *_sizes(about, about.n_tracks), _where(about)) for about in missing]
    print_table(["id", "model", " reads", "predicts", "assembly", "weights"], rows)
    stderr.print(
        "Fetch: `trackserver models fetch ID`. By hand: `trackserver models show ID` says where to get the file."
    )


def _installed(directory: Path | None) -> dict[str, ModelCard]:
    try:
        place = open_site(directory).models
    except SiteMissing:
        if directory:
            raise
        stderr.print("No site here, so nothing is installed; `trackserver init` makes one.")
        return {}
    found = {}
    for model_id in registry.installed(place):
        try:
            found[model_id] = registry.card(place, model_id)
        except DataError as error:
            stderr.print(f"{model_id}: {error}")
    return found


def _sizes(about: ModelCard | Published, n_tracks: int) -> tuple[str, ...]:
    reads = f"{about.window:,} bp" if about.window < 1000 else f"{about.window / 1000:.0f} kb"
    kind = (
        ("probability" if n_tracks == 1 else "probabilities") if about.probability else "signal" + "s" * (n_tracks > 1)
    )
    bins = "" if about.window - 2 * about.crop == about.bin_width else f", {about.bin_width} bp"
    return reads, f"{n_tracks:,} {kind}{bins}", ", ".join(about.assemblies)


def _where(about: Published) -> str:
    if about.files:
        return "fetch"
    return "by hand; non-commercial" if about.restricted else "by hand"


def how_to_get(about: Published) -> str:
    """The command that brings a published model onto the site."""
    if about.files:
        return f"trackserver models fetch {about.id}"
    return f"trackserver models install {about.id} FILE" + (" (non-commercial)" if about.restricted else "")


@models.command()
@click.argument("model_id")
@site_option
@json_option
def show(model_id: str, directory: Path | None, as_json: bool) -> None:
    """A model's card: what it reads and says, its tracks, how well it does, or how to get it."""
    card = _installed(directory).get(model_id)
    about = card or read_published(model_id)
    if as_json:
        print_json(asdict(about))
        return
    for name, value in _facts(about).items():
        click.echo(f"{name:15} {value}")
    if card:
        test = card.metrics.get("test", {}).get("pearson", [])
        print_table(["track", "name", "assay", "biosample", "target", "strand", " r (test)"], [
            (t.index, t.name, t.assay, t.biosample, t.target, t.strand, figure(test, t.index)) for t in card.tracks
        ])  # fmt: skip


def _summary(about: ModelCard | Published) -> dict[str, Any]:
    named = (
        "id", "title", "summary", "architecture", "assemblies", "window", "crop", "bin_width", "shortest", "n_value",
        "placement", "strands", "head", "probability", "licence", "citation", "page",
    )  # fmt: skip
    n_tracks = len(about.tracks) if isinstance(about, ModelCard) else about.n_tracks
    return {name: getattr(about, name) for name in named} | {"tracks": n_tracks}


def _facts(about: ModelCard | Published) -> dict[str, Any]:
    """A card in words, for people."""
    n_bins = (about.window - 2 * about.crop) // about.bin_width
    says = f"{n_bins:,} values a track, each {about.bin_width} bp wide"
    place = "where its bins are the genome-wide tracks'" if about.placement == "grid" else "at 0-based window / 2 - 1"
    facts = {
        "id": about.id,
        "title": about.title,
        "summary": about.summary,
        "assembly": ", ".join(about.assemblies),
        "reads": f"{about.window:,} bp" + (f" (or less, down to {about.shortest:,})" if about.shortest else ""),
        "says": says if n_bins > 1 else f"one value a track, of the {about.bin_width} bp at the centre",
        "tracks": f"{_summary(about)['tracks']:,} " + ("probabilities" if about.probability else "signals"),
        "unknown base": f"{about.n_value} in all four rows",
        "a variant lies": place,
        "strands": "mean of both, by default" if about.strands == "average" else "forward, by default",
        "licence": about.licence,
        "citation": about.citation,
        "published at": about.page,
    }
    if isinstance(about, Published):
        facts |= {"its file's bases": about.alphabet, "get it": how_to_get(about)}
    else:
        facts |= {"weights SHA-256": about.weights_sha256}
    return {name: value for name, value in facts.items() if value}


_install_options = (
    click.option("--as", "name", help="Its id on the site; by default the published one."),
    click.option("--overwrite", is_flag=True, help="Replace a model of that id."),
    site_option,
)


def _installing(command: Any) -> Any:
    for option in reversed(_install_options):
        command = option(command)
    return command


@models.command("install")
@click.argument("model_id", metavar="ID")
@click.argument("file", type=PATH)
@click.option("--labels", type=PATH, help="The published table of its tracks; your own models: TSV with a header.")
@click.option("--card", "card_file", type=PATH, help="TOML about a model of your own (TorchScript or torch.export).")
@click.option("--alphabet", default="", help="The order of bases in the file's first layer, where it is another copy.")
@click.option("--activation", type=click.Choice(["", "sigmoid", "tanh"]), default="",
              help="Basenji2's GELU, where the file holds weights alone.")  # fmt: skip
@click.option("--projection", type=PATH, help="projvec_targets.npy, for Sei's sequence classes.")
@_installing
def install_(
    model_id: str,
    file: Path,
    card_file: Path | None,
    name: str | None,
    overwrite: bool,
    directory: Path | None,
    **how: Any,
) -> None:
    """Put a model into the site from FILE: published weights, a program with its card, or a model's directory.

    Example: trackserver models install basenji2 model_human.h5 --labels targets_human.txt

    A TensorFlow checkpoint goes by its .index. Nothing in a file of weights is executed. A program (--card) is,
    only if it consists of arithmetic on tensors, and in a process of its own that can write no file and is bounded in
    memory and time.
    """
    site = open_site(directory)
    site.check_writable()
    if file.is_dir():
        _say(copy_model(site.models, file, name or model_id, overwrite=overwrite))
        return
    about = read_own_card(card_file, model_id) if card_file else read_published(model_id)
    _say(install(site.models, about, Source(file, **how), name, overwrite=overwrite))


@models.command()
@click.argument("model_id", metavar="ID")
@click.option("--url", multiple=True, help="Take the weights from here; one for each file of the published model.")
@click.option("--labels-url", help="Take the table of tracks from here.")
@click.option("--no-labels", is_flag=True, help="Leave the tracks numbered, without a table.")
@_installing
def fetch(
    model_id: str,
    url: tuple[str, ...],
    labels_url: str | None,
    no_labels: bool,
    name: str | None,
    overwrite: bool,
    directory: Path | None,
) -> None:
    """Download a published model, check it, and put it into the site.

    Interrupted, the same command goes on where it stopped.
    """
    site = open_site(directory)
    site.check_writable()
    about = read_published(model_id)
    registry.check_free(site.models, name or model_id, overwrite)
    folder = site.cache / "downloads" / about.id
    with transferring(f"Fetching {about.title}") as report:
        source = download(about, folder, url, None if no_labels else labels_url or about.table, report)
    _say(install(site.models, about, source, name, overwrite=overwrite))
    shutil.rmtree(folder)


def _say(card: ModelCard) -> None:
    licence = f" Licence: {card.licence}." if card.licence else ""
    stderr.print(f"{card.title} is on the site as '{card.id}', with {len(card.tracks):,} tracks.{licence}")
    if len(card.tracks) > 1 and card.tracks[0].name == unnamed(0):
        stderr.print("Its tracks are numbered, not named: install it again with --labels TABLE --overwrite.")
