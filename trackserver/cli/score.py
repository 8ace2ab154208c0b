"""Verb that scores a list of variants: score."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.batches import run
from trackserver.batches.question import CHUNK, SCORE_COLUMNS, ListRequest, list_question
from trackserver.batches.run import ENDINGS, Preflight
from trackserver.batches.scoring import STATUSES
from trackserver.cli.common import (
    ensemble_options,
    format_duration,
    json_option,
    open_site,
    print_json,
    resume_option,
    show_count,
    site_option,
    stderr,
    tracks_option,
)
from trackserver.errors import InvalidRequest
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
              help=f"The table to write; its ending sets the format: {', '.join(ENDINGS)}.")  # fmt: skip
@tracks_option
@click.option("--assembly", help="Default: one the model was trained on, if the site has it.")
@click.option("--lift-from", default="", metavar="ASSEMBLY", help="The assembly of the variants in IN, if it differs.")
@click.option(
    "--score-columns",
    type=click.Choice(SCORE_COLUMNS),
    default="none",
    show_default=True,
    help="Add a column for every track with this score; auto is log2fc, or delta for a probability.",
)
@resume_option
@click.option("--dry-run", is_flag=True, help="Only check IN and estimate the time.")
@click.option("--full", is_flag=True, help="As a check, run two full predictions for each variant.")
@click.option(
    "--chunk",
    type=click.IntRange(1, 100_000),
    default=CHUNK,
    show_default=True,
    help="Rows to score between two writes to the disk.",
)
@click.option("--device", help="auto, cpu, cuda:0. Default: the site's setting.")
@ensemble_options(placement=True)
@site_option
@json_option
def score(
    model: str,
    source: Path,
    out: Path | None,
    selection: str | None,
    assembly: str | None,
    score_columns: str,
    resume: bool,
    dry_run: bool,
    chunk: int,
    ensemble: EnsembleOptions,
    device: str | None,
    directory: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score the variants of IN, a VCF or a list, with MODEL.

    Example: trackserver score k562 in.vcf -o out.tsv

    The table has a row with a status for every ALT of every line, even for lines that cannot be read.
    """
    if out is None and not dry_run:
        raise InvalidRequest(f"Name the table to write with -o, ending in {', '.join(ENDINGS)}; or use --dry-run.")
    site = open_site(directory, device=device)
    request = ListRequest(model, assembly, selection, ensemble, score_columns=score_columns, **options)
    batch = list_question(site, source, request, chunk)
    if out is None or dry_run:
        with tempfile.TemporaryDirectory() as folder:
            _print_preflight(run.dry_run(batch, folder), as_json)
        return
    preflights: list[Preflight] = []

    def on_preflight(preflight: Preflight) -> None:
        preflights.append(preflight)
        stderr.print(_describe(preflight), markup=False, soft_wrap=True)

    try:
        with show_count("Scoring variants") as report:
            statuses = run.run(batch, out, resume=resume, report=report, on_preflight=on_preflight)
    except KeyboardInterrupt:
        stderr.print("Stopped. The finished rows are stored; continue with --resume.")
        raise
    if as_json:
        print_json({"preflight": asdict(preflights[0]), "summary": {"out": str(out), "statuses": statuses}})
    else:
        stderr.print(f"{out}: {_format_counts(statuses)}.", markup=False, soft_wrap=True)


def _print_preflight(preflight: Preflight, as_json: bool) -> None:
    if as_json:
        print_json({"preflight": asdict(preflight)})
        return
    click.echo(_describe(preflight))
    for problem in preflight.problems:
        click.echo(f"  {problem}")


def _describe(preflight: Preflight) -> str:
    sentences = [f"{preflight.rows:,} rows: {_format_counts(preflight.statuses)}."]
    if preflight.kinds:
        sentences.append(f"Kinds: {_format_counts(preflight.kinds)}.")
    if preflight.fixable:
        swaps, shifts = preflight.fixable.get("swap", 0), preflight.fixable.get("shift", 0)
        sentences.append(f"REF mismatches: {swaps:,} match with REF and ALT swapped, {shifts:,} match one base later.")
    sentences.append(f"{preflight.to_score:,} to score in {preflight.windows:,} windows.")
    if preflight.seconds is not None:
        sentences.append(f"This takes about {format_duration(preflight.seconds)}.")
    return " ".join(sentences)


def _format_counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: list(STATUSES).index(pair[0]) if pair[0] in STATUSES else 99)
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in ordered)
