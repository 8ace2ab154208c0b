"""Verbs that ask a model: predict, variant."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from trackserver.catalogue.site import assembly_for
from trackserver.cli.common import (
    duration,
    ensemble_options,
    json_option,
    open_site,
    print_json,
    print_table,
    progress,
    site_option,
    stderr,
    sweeping,
)
from trackserver.genome.regions import read_bed
from trackserver.models import registry
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.sweep.prediction import Hardware, How, Prediction

if TYPE_CHECKING:
    from trackserver.sweep.estimate import Estimate
    from trackserver.sweep.run import Progress


@click.command()
@click.argument("model")
@click.option("--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob; all by default.")
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False), help="BED; the whole genome by default.")
@click.option("--assembly", help="By default the one the model was trained on, where the site has it.")
@click.option("--stride", type=click.IntRange(1), help="bp between windows, for models that give one value a window.")
@click.option("--trim", type=click.IntRange(0), default=0, help="Bins at each side of a window's to leave out.")
@click.option("--skip-blacklist", is_flag=True, help="Leave out what the site's blacklist touches.")
@click.option("--device", help="auto: all GPUs; cpu; cuda:0,1; by default the site's setting.")
@click.option("--cluster", metavar="ADDRESS", help="A Ray cluster: ray://host:10001; auto: this node's; local.")
@click.option("--workers", type=click.IntRange(1), help="Of the cluster; by default one a GPU, or one a node.")
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="float32", show_default=True,
              help="Less than float32 is faster on GPUs, and for looking at only.")  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="Have torch compile the model: faster after some minutes.")
@click.option("--one-by-one", is_flag=True, help="Share nothing between windows that overlap, to check with.")
@click.option("--digits", type=click.IntRange(1, 7), help="Significant digits to keep; all by default.")
@ensemble_options()
@click.option("--batch-size", type=click.IntRange(1, 1024), default=4, show_default=True, help="Windows at once.")
@click.option("--dry-run", is_flag=True, help="Say only what it will take; predicts for some seconds.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same question was stopped.")
@site_option
@json_option
def predict(
    model: str,
    selection: str | None,
    regions: Path | None,
    assembly: str | None,
    device: str | None,
    cluster: str | None,
    workers: int | None,
    ensemble: EnsembleOptions,
    dry_run: bool,
    resume: bool,
    directory: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Predict MODEL's tracks along the genome into bigWigs, and register them.

    Example: trackserver predict k562 --tracks assay=DNASE --regions test.bed
    """
    site = open_site(directory)
    card = registry.card(site.models, model)
    lies_on = site.assembly(assembly_for(site, card, assembly))
    prediction = Prediction(
        site, model, How(ensemble.of(card), **how), selection,
        read_bed(regions, lies_on) if regions else None, lies_on.name, Hardware(device, cluster, workers),
    )  # fmt: skip
    with progress("Looking for known sequence") as report:
        site.reference(lies_on.name).known_sequence(report)
    if dry_run:
        _tell(prediction.estimate(), as_json)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with sweeping("Predicting") as tell:
            records = prediction.run(resume, lambda at: tell(at.bp, at.of_bp, _said(at, prediction)))
    except KeyboardInterrupt:
        stderr.print("Stopped. What was predicted is kept; go on with --resume.")
        raise SystemExit(130) from None
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        print_table(["uid", "name", " MB"], [(r.uid, r.name, f"{r.size / 1e6:.1f}") for r in records])


def _said(at: Progress, prediction: Prediction) -> str:
    gpu = prediction.gpu_memory()
    return f"{at.windows:,}/{at.of_windows:,} windows" + (f" {gpu / 1e9:.1f} GB GPU" if gpu else "")


def _tell(found: Estimate, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{found.windows:,} windows, {found.bp:,} bp, {found.tracks:,} tracks, on {', '.join(found.devices)}.")
    click.echo(f"About {duration(found.seconds)}, at {found.bp_per_second:,.0f} bp/s.")
    needed, free = decimal(found.disk_needed), decimal(found.disk_free)
    click.echo(f"Disk: {needed} needed, half of it only meanwhile; {free} free.")
    gpu = f"; {decimal(found.gpu_memory)} of a GPU's" if found.gpu_memory else ""
    click.echo(f"Memory: {decimal(found.memory)}{gpu}.")
