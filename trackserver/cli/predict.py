"""Verb that predicts tracks along the genome: predict."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from trackserver.catalogue.site import assembly_for
from trackserver.cli.common import (
    ensemble_options,
    format_duration,
    json_option,
    open_site,
    print_json,
    print_table,
    resume_option,
    show_progress,
    show_sweep,
    site_option,
    stderr,
    tracks_option,
)
from trackserver.genome.regions import read_bed
from trackserver.models import registry
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.sweep.prediction import Hardware, Prediction, SweepOptions

if TYPE_CHECKING:
    from trackserver.sweep.estimate import Estimate
    from trackserver.sweep.run import Progress


@click.command()
@click.argument("model")
@tracks_option
@click.option("--regions", type=click.Path(path_type=Path, dir_okay=False),
              help="Predict the regions of this BED. Default: the whole genome.")  # fmt: skip
@click.option("--assembly", help="Default: one the model was trained on, if the site has it.")
@click.option("--stride", type=click.IntRange(1), help="bp between windows, for models with one value per window.")
@click.option("--trim", type=click.IntRange(0), default=0, help="Bins to leave out at both ends of each window.")
@click.option("--skip-blacklist", is_flag=True, help="Leave out regions of the site's blacklist.")
@click.option("--device", help="auto: all GPUs; cpu; cuda:0,1. Default: the site's setting.")
@click.option("--cluster", metavar="ADDRESS", help="A Ray cluster: ray://host:10001; auto: this node's; local.")
@click.option("--workers", type=click.IntRange(1), help="Workers of the cluster. Default: one per GPU, or per node.")
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="float32", show_default=True,
              help="Less than float32 is faster on GPUs, but only good enough for browsing.")  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="Compile the model with torch: faster after some minutes.")
@click.option("--separate-windows", is_flag=True, help="As a check, share nothing between overlapping windows.")
@click.option("--digits", type=click.IntRange(1, 7), help="Significant digits to store. Default: all.")
@ensemble_options()
@click.option("--batch-size", type=click.IntRange(1, 1024), default=4, show_default=True, help="Windows per batch.")
@click.option("--dry-run", is_flag=True, help="Estimate time, disk and memory, from some seconds of predictions.")
@resume_option
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
    **options: Any,
) -> None:
    """Predict MODEL's tracks along the genome, write them to bigWigs, and add these to the catalogue.

    Example: trackserver predict k562 --tracks assay=DNASE --regions test.bed
    """
    site = open_site(directory)
    card = registry.card(site.models, model)
    genome_assembly = site.assembly(assembly_for(site, card, assembly))
    prediction = Prediction(
        site, model, SweepOptions(ensemble.resolve(card), **options), selection,
        read_bed(regions, genome_assembly) if regions else None, genome_assembly.name,
        Hardware(device, cluster, workers),
    )  # fmt: skip
    with show_progress("Looking for known sequence") as report:
        site.reference(genome_assembly.name).known_sequence(report)
    if dry_run:
        _print_estimate(prediction.estimate(), as_json)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with show_sweep("Predicting") as report_sweep:
            records = prediction.run(
                resume, lambda at: report_sweep(at.bp, at.total_bp, _progress_message(at, prediction))
            )
    except KeyboardInterrupt:
        stderr.print("Stopped. The finished part is stored; continue with --resume.")
        raise SystemExit(130) from None
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        print_table(["uid", "name", " MB"], [(r.uid, r.name, f"{r.size / 1e6:.1f}") for r in records])


def _progress_message(at: Progress, prediction: Prediction) -> str:
    gpu = prediction.gpu_memory()
    return f"{at.windows:,}/{at.total_windows:,} windows" + (f" {gpu / 1e9:.1f} GB GPU" if gpu else "")


def _print_estimate(estimate: Estimate, as_json: bool) -> None:
    if as_json:
        print_json(asdict(estimate))
        return
    devices = ", ".join(estimate.devices)
    click.echo(f"{estimate.windows:,} windows, {estimate.bp:,} bp, {estimate.tracks:,} tracks, on {devices}.")
    click.echo(f"Time: about {format_duration(estimate.seconds)}, at {estimate.bp_per_second:,.0f} bp/s.")
    needed, free = decimal(estimate.disk_needed), decimal(estimate.disk_free)
    click.echo(f"Disk: {needed} needed, half of it only during the run; {free} free.")
    gpu = f"; GPU memory: {decimal(estimate.gpu_memory)}" if estimate.gpu_memory else ""
    click.echo(f"Memory: {decimal(estimate.memory)}{gpu}.")
