"""Options, progress on stderr, and tables and JSON on stdout, shared by the verbs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from trackserver.catalogue.site import Site, find_site
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.progress import Progress

stderr = Console(stderr=True)

site_option = click.option(
    "--site",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The site. Default: the nearest folder upwards with a trackserver.toml, else TRACKSERVER_SITE.",
)
tracks_option = click.option(
    "--tracks", "selection", help="0-9,25, assay=DNASE,biosample=K562, or a name glob. Default: all."
)
resume_option = click.option("--resume", is_flag=True, help="Continue an earlier run of the same command.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class Shifts(click.ParamType):
    """`-1,0,1`."""

    name = "BP,BP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail("write whole numbers of bp with commas between, such as -1,0,1", param, ctx)


def ensemble_options(*, placement: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the ensemble options to a verb, which receives them as one value, `ensemble`."""

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def with_options(*args: Any, **options: Any) -> Any:
            ensemble = EnsembleOptions(
                **{name: options.pop(name) or None for name in ("ensemble", "shifts")},
                squashed=options.pop("squashed"),
                placement=options.pop("placement", None),
            )
            return verb(*args, ensemble=ensemble, **options)

        for option in (*_ENSEMBLE, *([_PLACEMENT] if placement else [])):
            option(with_options)
        return with_options

    return decorate


_ENSEMBLE = (
    click.option("--squashed", is_flag=True, help="Keep Borzoi's squashed units."),
    click.option("--shifts", type=Shifts(), help="Average over windows shifted by these bp, such as -1,0,1."),
    click.option("--ensemble", multiple=True, type=click.Choice(["rc", "none"]),
                 help="rc: average over both strands. Default: as the model's authors did."),
)  # fmt: skip
_PLACEMENT = click.option(
    "--placement",
    type=click.Choice(["centre", "grid"]),
    help="centre: each variant in the middle of its window; grid: nearby variants share one. Default: as published.",
)


def open_site(directory: Path | None, **flags: Any) -> Site:
    return Site(find_site(directory), **flags)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout; it is never cut short if stdout is not a terminal."""
    console = Console() if Console().is_terminal else Console(width=10_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column.startswith(" ") else "left", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table, markup=False) if rows else stderr.print("Nothing to list.")


def format_metric(values: Sequence[Any], index: int) -> str:
    """Format a metric to three decimals; empty if it is not defined."""
    return f"{values[index]:.3f}" if index < len(values) and values[index] is not None else ""


def format_duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 1):.0f} seconds"


_TIMES = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
_NAME, _BAR = TextColumn("{task.description}"), BarColumn()


class _Rate(ProgressColumn):
    """Items per second, once two have been counted."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


class _Bases(ProgressColumn):
    """Mb done, and Mb per second once that is known."""

    def render(self, task: Task) -> Text:
        rate = f" {task.speed / 1e6:.2f} Mb/s" if task.speed else ""
        return Text(f"{task.completed / 1e6:,.1f}/{(task.total or 0) / 1e6:,.1f} Mb{rate}", style="progress.download")


@contextmanager
def _bar(what: str, *columns: ProgressColumn) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr; it appears with the first update, so that a request refused at once shows none."""
    bar = rich.progress.Progress(_NAME, _BAR, *columns, *_TIMES, console=stderr)
    task = bar.add_task(what, total=None, message="")

    def update(**fields: Any) -> None:
        bar.start()
        bar.update(task, **fields)

    try:
        yield update
    finally:
        bar.stop() if bar.live.is_started else None


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """Show percent, elapsed and remaining time; call with (done, total)."""
    with _bar(what, TaskProgressColumn()) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def show_count(what: str) -> Iterator[Progress]:
    """Show a count such as 3/14, and the rate; call with (done, total)."""
    with _bar(what, MofNCompleteColumn(), _Rate()) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def show_sweep(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show the bases done, their rate and a message; call with (bp done, bp in total, message)."""
    with _bar(what, _Bases(), TextColumn("{task.fields[message]}")) as update:
        yield lambda done, total, message: update(completed=done, total=total, message=message)


@contextmanager
def show_transfer(what: str) -> Iterator[Progress]:
    """Show the bytes of a file and their rate; call with (done, total), total 0 if it is unknown."""
    with _bar(what, DownloadColumn(), TransferSpeedColumn()) as update:
        yield lambda done, total: update(completed=done, total=total or None)


@contextmanager
def show_stages(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show the current stage; call with (fraction done, stage)."""
    with _bar(what, TextColumn("{task.fields[message]}")) as update:
        yield lambda done, stage: update(completed=done, total=1.0, message=stage)
