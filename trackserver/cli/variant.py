"""Verb that predicts the effect of a variant: variant."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.cli.common import (
    ensemble_options,
    json_option,
    open_site,
    print_json,
    print_table,
    site_option,
    stderr,
    tracks_option,
)
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.argument("variants", nargs=-1, required=True)
@tracks_option
@click.option("--assembly", help="Default: the site's own.")
@click.option("--lift-from", default="", metavar="ASSEMBLY", help="The assembly of VARIANTS, if it differs.")
@click.option("--full", is_flag=True, help="As a check, run two full predictions, not only what a change can reach.")
@ensemble_options(placement=True)
@site_option
@json_option
def variant(
    model: str,
    variants: tuple[str, ...],
    selection: str | None,
    assembly: str | None,
    ensemble: EnsembleOptions,
    full: bool,
    lift_from: str,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Predict the effect of VARIANTS, together on one haplotype, on MODEL's tracks.

    Example: trackserver variant k562 chr1:47690516:C:T

    You can also write a variant as 1-47690516-C-T, chr1:g.47690516C>T, a line of a VCF, or an rsID if the site has a
    table of them. Positions count from 1. REF, ALT and Δ are the values of the bin that changes most.
    """
    site = open_site(directory)
    request = EffectRequest(
        model, assembly or site.default_assembly, variants, selection, ensemble, full=full, lift_from=lift_from
    )
    result = effects.compute(site, effect_question(site, request))
    if as_json:
        print_json(result)
        return
    columns = ["track", "name", " REF", " ALT", " Δ", " log2FC", " SAD", "bin"]
    print_table(columns, [
        (t["index"], t["name"], f"{t['ref']:.3g}", f"{t['alt']:.3g}", f"{t['delta']:+.3g}", f"{t['log2fc']:+.3f}",
         f"{t['sad']:+.3g}", f"{t['at']['chrom']}:{t['at']['start'] + 1:,}")
        for t in result["tracks"]
    ])  # fmt: skip
    for note in result["lifted"]:
        stderr.print(note)
    for warning in result["warnings"]:
        stderr.print(f"{warning['severity'].capitalize()}: {warning['sentence']}")
    gene = result["variants"][0]["nearest_gene"]
    stderr.print(
        f"Effect {result['id']}" + (f"; nearest gene {gene['name']}, {gene['distance']:,} bp." if gene else ".")
    )
