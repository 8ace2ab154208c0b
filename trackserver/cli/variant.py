"""`trackserver variant`."""

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
)
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.argument("variants", nargs=-1, required=True)
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--assembly", help="By default the site's own.")
@click.option("--lift-from", default="", metavar="ASSEMBLY", help="The assembly VARIANTS are written on, if another.")
@click.option("--full", is_flag=True, help="Two full predictions, to check with, rather than what a change can reach.")
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
    """The effect of VARIANTS on MODEL's tracks; several are one haplotype.

    Example: trackserver variant k562 chr1:47690516:C:T

    Written also as 1-47690516-C-T, chr1:g.47690516C>T, a line of a VCF or, where the site has a table, an rsID.
    Positions are counted from 1. REF, ALT and Δ are the values of the bin that changes most.
    """
    site = open_site(directory)
    request = EffectRequest(
        model, assembly or site.default_assembly, variants, selection, ensemble, full=full, lift_from=lift_from
    )
    found = effects.compute(site, effect_question(site, request))
    if as_json:
        print_json(found)
        return
    columns = ["track", "name", " REF", " ALT", " Δ", " log2FC", " SAD", "bin"]
    print_table(columns, [
        (t["index"], t["name"], f"{t['ref']:.3g}", f"{t['alt']:.3g}", f"{t['delta']:+.3g}", f"{t['log2fc']:+.3f}",
         f"{t['sad']:+.3g}", f"{t['at']['chrom']}:{t['at']['start'] + 1:,}")
        for t in found["tracks"]
    ])  # fmt: skip
    for sentence in found["lifted"]:
        stderr.print(sentence)
    for warning in found["warnings"]:
        stderr.print(f"{warning['severity'].capitalize()}: {warning['sentence']}")
    near = found["variants"][0]["nearest_gene"]
    stderr.print(
        f"Effect {found['id']}" + (f"; nearest gene {near['name']}, {near['distance']:,} bp." if near else ".")
    )
