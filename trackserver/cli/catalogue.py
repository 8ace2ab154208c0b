"""Verbs that show the catalogue: list, pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.catalogue.facets import FACETS, Index, TilesetQuery, normalise_facets
from trackserver.catalogue.manifest import format_manifest
from trackserver.catalogue.pairs import choose, choose_none, find_pairs, forget
from trackserver.catalogue.store import OBSERVED, PREDICTED, REGISTERED, TilesetRecord
from trackserver.cli.common import json_option, open_site, print_json, print_table, site_option, stderr

_EXAMPLES = {
    "assay": "DNASE, CHIP …", "biosample": "K562, liver …", "target": "CTCF, H3K27ac …", "strand": "+, - or .",
    "model": "A model's id.", "kind": f"{OBSERVED}, {PREDICTED} or {REGISTERED}", "assembly": "hg38 …",
    "source": "ENCODE, file …", "accession": "ENCFF…",
}  # fmt: skip


def facet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each facet; repeated, it matches any of its values."""
    for name in reversed(FACETS):
        command = click.option(f"--{name}", multiple=True, help=_EXAMPLES[name])(command)
    return command


@click.command("list")
@click.argument("words", metavar="[TEXT]...", nargs=-1)
@facet_options
@click.option("--facets", "show_facets", is_flag=True, help="Count tilesets by assay, biosample and so on instead.")
@click.option("--manifest", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write a manifest of the tilesets to this file instead; - for stdout.")  # fmt: skip
@site_option
@json_option
def list_(
    words: tuple[str, ...],
    show_facets: bool,
    manifest: Path | None,
    directory: Path | None,
    as_json: bool,
    **facets: tuple[str, ...],
) -> None:
    """List the site's tilesets, or those that contain every word of TEXT and match each option.

    Example: trackserver list --assay DNASE --biosample K562 --biosample HepG2
    """
    site = open_site(directory)
    index, query = Index(site.catalogue.tilesets()), TilesetQuery(" ".join(words), facets=normalise_facets(facets))
    if show_facets:
        _print_facets(index.count(query).as_json(), as_json)
        return
    records = index.find(query)
    if not manifest:
        print_tilesets(records, as_json)
    elif str(manifest) == "-":
        click.echo(format_manifest(site, records), nl=False)
    else:
        manifest.write_text(format_manifest(site, records, manifest.parent), encoding="utf-8")
        stderr.print(f"Wrote {manifest}; `trackserver add --manifest {manifest}` adds its tilesets.")


def print_tilesets(records: list[TilesetRecord], as_json: bool) -> None:
    if as_json:
        print_json([asdict(record) for record in records])
        return
    columns = ["uid", "name", "kind", "assembly", "assay", "biosample", "target", "strand", " MB"]
    print_table(columns, [
        (r.uid, r.name, r.kind, r.assembly, r.assay, r.biosample, r.target, r.strand, f"{r.size / 1e6:.1f}")
        for r in records
    ])  # fmt: skip


def _print_facets(counts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    rows = [(name, row["value"], f"{row['count']:,}") for name, values in counts["facets"].items() for row in values]
    print_table(["facet", "value", " tilesets"], rows)
    for name, number in counts["more"].items():
        stderr.print(f"{name}: {number:,} more values.")


@click.group(invoke_without_command=True)
@site_option
@json_option
@click.pass_context
def pairs(ctx: click.Context, directory: Path | None, as_json: bool) -> None:
    """List predicted tilesets with their observed counterparts, the reason and the confidence.

    chosen: by you; certain: by accession; likely: by assay, biosample, target and strand; ambiguous: several match.
    """
    if ctx.invoked_subcommand:
        return
    catalogue = open_site(directory).catalogue
    track_pairs = find_pairs(catalogue.tilesets(), catalogue.chosen_pairs())
    if as_json:
        print_json([asdict(pair) for pair in track_pairs])
    else:
        print_table(
            ["predicted", "observed", "reason", "confidence"], [tuple(asdict(pair).values()) for pair in track_pairs]
        )


@pairs.command("set")
@click.argument("predicted")
@click.argument("observed")
@site_option
def set_(predicted: str, observed: str, directory: Path | None) -> None:
    """Pair PREDICTED with OBSERVED, whatever the rules say."""
    choose(open_site(directory), predicted, observed)


@pairs.command()
@click.argument("predicted")
@site_option
def unset(predicted: str, directory: Path | None) -> None:
    """Leave PREDICTED without an observed counterpart, whatever the rules say."""
    choose_none(open_site(directory), predicted)


@pairs.command()
@click.argument("predicted")
@site_option
def reset(predicted: str, directory: Path | None) -> None:
    """Apply the rules to PREDICTED again."""
    forget(open_site(directory), predicted)
