"""The verb that scores a list of variants."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trackserver.batches import question, run
from trackserver.batches.question import CHUNK, EVERY, ListRequest, list_question
from trackserver.batches.run import ENDINGS, Preflight
from trackserver.batches.scoring import STATUSES
from trackserver.cli.common import (
    counting,
    duration,
    ensemble_options,
    json_option,
    open_site,
    print_json,
    site_option,
    stderr,
)
from trackserver.errors import InvalidRequest
from trackserver.predict.ensemble import EnsembleOptions


@click.command()
@click.argument("model")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help=f"{', '.join(ENDINGS)}.")
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--assembly", help="By default the one the model was trained on, where the site has it.")
@click.option("--lift-from", default="", metavar="ASSEMBLY", help="The assembly IN is written on, if another.")
@click.option(
    "--columns",
    type=click.Choice(["top", "all"]),
    default="top",
    show_default=True,
    help="The track of the largest size, or also a score of every track.",
)
@click.option(
    "--score",
    "kept",
    type=click.Choice(EVERY),
    help="Which, with --columns all; log2fc, or delta of a probability, by default.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same question was stopped.")
@click.option("--dry-run", is_flag=True, help="Say only what is in IN and how long it will take.")
@click.option("--full", is_flag=True, help="Two full predictions each, to check with.")
@click.option(
    "--chunk",
    type=click.IntRange(1, 100_000),
    default=CHUNK,
    show_default=True,
    help="Rows between two writes to the disk.",
)
@click.option("--device", help="auto, cpu, cuda:0; by default the site's setting.")
@ensemble_options(placement=True)
@site_option
@json_option
def score(
    model: str,
    source: Path,
    out: Path | None,
    selection: str | None,
    assembly: str | None,
    columns: str,
    kept: str | None,
    resume: bool,
    dry_run: bool,
    chunk: int,
    ensemble: EnsembleOptions,
    device: str | None,
    directory: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Score the variants of IN, a VCF or a list, with MODEL.

    Example: trackserver score k562 in.vcf -o out.tsv

    Every ALT of every line is a row with a status, whatever is wrong with it. The format is that of -o's ending.
    """
    if out is None and not dry_run:
        raise InvalidRequest(f"Name the table to write with -o, ending in {', '.join(ENDINGS)}; or ask for --dry-run.")
    site = open_site(directory, device=device)
    every = question.every(site, model, kept) if columns == "all" else ""
    asked = list_question(site, source, ListRequest(model, assembly, selection, ensemble, every=every, **how), chunk)
    if out is None or dry_run:
        with tempfile.TemporaryDirectory() as folder:
            _tell(run.dry_run(asked, Path(folder)), as_json)
        return
    told: list[Preflight] = []
    try:
        with counting("Scoring variants") as report:
            statuses = run.run(asked, out, resume=resume, report=report, tell=lambda found: _begin(found, told))
    except KeyboardInterrupt:
        stderr.print("What was scored is kept; go on with --resume.")
        raise
    if as_json:
        print_json({"preflight": asdict(told[0]), "summary": {"out": str(out), "statuses": statuses}})
    else:
        stderr.print(f"{out}: {_counted(statuses)}.", markup=False, soft_wrap=True)


def _begin(found: Preflight, told: list[Preflight]) -> None:
    told.append(found)
    stderr.print(_words(found), markup=False, soft_wrap=True)


def _tell(found: Preflight, as_json: bool) -> None:
    if as_json:
        print_json({"preflight": asdict(found)})
        return
    click.echo(_words(found))
    for sentence in found.problems:
        click.echo(f"  {sentence}")


def _words(found: Preflight) -> str:
    words = [f"{found.rows:,} rows: {_counted(found.statuses)}."]
    if found.kinds:
        words.append(f"Of kinds: {_counted(found.kinds)}.")
    if found.fixable:
        swaps, shifts = found.fixable.get("swap", 0), found.fixable.get("shift", 0)
        words.append(f"Of those with another REF, {swaps:,} fit with the alleles exchanged, {shifts:,} a base further.")
    words.append(f"{found.to_score:,} to score in {found.windows:,} windows.")
    if found.seconds is not None:
        words.append(f"That takes about {duration(found.seconds)}.")
    return " ".join(words)


def _counted(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: list(STATUSES).index(pair[0]) if pair[0] in STATUSES else 99)
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in ordered)
