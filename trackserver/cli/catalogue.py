"""Verbs about what the catalogue knows: list, pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue.facets import FACETS, Index, Wanted, normal
from trackserver.catalogue.manifest import written
from trackserver.catalogue.pairs import choose, choose_none, find_pairs, forget
from trackserver.catalogue.store import OBSERVED, PREDICTED, REGISTERED, TilesetRecord
from trackserver.cli.common import json_option, open_site, print_json, print_table, site_option, stderr

_EXAMPLES = {
    "assay": "DNASE, CHIP …", "biosample": "K562, liver …", "target": "CTCF, H3K27ac …", "strand": "+, - or .",
    "model": "A model's id.", "kind": f"{OBSERVED}, {PREDICTED} or {REGISTERED}", "assembly": "hg38 …",
    "source": "ENCODE, file …", "accession": "ENCFF…",
}  # fmt: skip


def facet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each facet; one that is repeated means any of its values."""
    for name in reversed(FACETS):
        command = click.option(f"--{name}", multiple=True, help=_EXAMPLES[name])(command)
    return command


@click.command("list")
@click.argument("words", metavar="[TEXT]...", nargs=-1)
@facet_options
@click.option("--facets", "counted", is_flag=True, help="Count them by assay, biosample and so on instead.")
@click.option("--manifest", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write a manifest of them to this file, - for stdout, instead.")  # fmt: skip
@site_option
@json_option
def list_(
    words: tuple[str, ...],
    counted: bool,
    manifest: Path | None,
    directory: Path | None,
    as_json: bool,
    **chosen: tuple[str, ...],
) -> None:
    """The site's tilesets, or those that have every word of TEXT somewhere and one of the values of each option.

    Example: trackserver list --assay DNASE --biosample K562 --biosample HepG2
    """
    site = open_site(directory)
    index, wanted = Index(site.catalogue.tilesets()), Wanted(" ".join(words), facets=normal(chosen))
    if counted:
        _print_facets(index.count(wanted).described(), as_json)
        return
    records = index.find(wanted)
    if not manifest:
        print_tilesets(records, as_json)
    elif str(manifest) == "-":
        click.echo(written(site, records), nl=False)
    else:
        manifest.write_text(written(site, records, manifest.parent), encoding="utf-8")
        stderr.print(f"{manifest} is written; `trackserver add --manifest {manifest}` reads it.")


def print_tilesets(records: list[TilesetRecord], as_json: bool) -> None:
    if as_json:
        print_json([asdict(record) for record in records])
        return
    columns = ["uid", "name", "kind", "assembly", "assay", "biosample", "target", "strand", " MB"]
    print_table(columns, [
        (r.uid, r.name, r.kind, r.assembly, r.assay, r.biosample, r.target, r.strand, f"{r.size / 1e6:.1f}")
        for r in records
    ])  # fmt: skip


def _print_facets(counted: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counted)
        return
    rows = [(name, one["value"], f"{one['count']:,}") for name, found in counted["facets"].items() for one in found]
    print_table(["facet", "value", " tilesets"], rows)
    for name, number in counted["more"].items():
        stderr.print(f"{name}: {number:,} more values.")


@click.group(invoke_without_command=True)
@site_option
@json_option
@click.pass_context
def pairs(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """Predicted tilesets, what was measured of each, why, and how sure that is.

    chosen: by you; certain: by accession; likely: by assay, biosample, target and strand; ambiguous: several fit.
    """
    if ctx.invoked_subcommand:
        return
    catalogue = open_site(directory).catalogue
    found = find_pairs(catalogue.tilesets(), catalogue.chosen_pairs())
    if as_json:
        print_json([asdict(pair) for pair in found])
    else:
        print_table(["predicted", "measured", "reason", "sure"], [tuple(asdict(pair).values()) for pair in found])


@pairs.command("set")
@click.argument("predicted")
@click.argument("measured")
@site_option
def set_(predicted: str, measured: str, directory: Path | None) -> None:
    """Say that MEASURED is what was measured of PREDICTED, whatever the rules say."""
    choose(open_site(directory), predicted, measured)


@pairs.command()
@click.argument("predicted")
@site_option
def unset(predicted: str, directory: Path | None) -> None:
    """Say that nothing here was measured of PREDICTED, whatever the rules say."""
    choose_none(open_site(directory), predicted)


@pairs.command()
@click.argument("predicted")
@site_option
def reset(predicted: str, directory: Path | None) -> None:
    """Leave PREDICTED to the rules again."""
    forget(open_site(directory), predicted)
