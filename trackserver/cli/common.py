"""What the verbs share: finding the site, progress on stderr, tables and JSON on stdout."""

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
    help="The site; by default the nearest trackserver.toml upwards, else TRACKSERVER_SITE.",
)
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
    """The options of how a model is asked, which a verb is given as one value, `ensemble`."""

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def with_options(*args: Any, **given: Any) -> Any:
            options = {name: given.pop(name) or None for name in ("ensemble", "shifts")}
            placed = given.pop("placement", None)
            ensemble = EnsembleOptions(**options, squashed=given.pop("squashed"), placement=placed)
            return verb(*args, ensemble=ensemble, **given)

        for option in (*_ENSEMBLE, *([_PLACEMENT] if placement else [])):
            option(with_options)
        return with_options

    return decorate


_ENSEMBLE = (
    click.option("--squashed", is_flag=True, help="Borzoi's own squashed units, not undone."),
    click.option("--shifts", type=Shifts(), help="Average over the window moved by these bp, such as -1,0,1."),
    click.option("--ensemble", multiple=True, type=click.Choice(["rc", "none"]),
                 help="rc: average over both strands; by default as the model's authors did."),
)  # fmt: skip
_PLACEMENT = click.option(
    "--placement",
    type=click.Choice(["centre", "grid"]),
    help="centre: a variant in the middle of its window; grid: neighbours share one. By default as published.",
)


def open_site(directory: Path | None, **flags: Any) -> Site:
    return Site(find_site(directory), **flags)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; never cut short where stdout is not a terminal."""
    console = Console() if Console().is_terminal else Console(width=10_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column.startswith(" ") else "left", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table, markup=False) if rows else stderr.print("Nothing there.")


def figure(values: Sequence[Any], index: int) -> str:
    """A metric of a list, to three decimals; empty where it is not defined."""
    return f"{values[index]:.3f}" if index < len(values) and values[index] is not None else ""


def duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 1):.0f} seconds"


_TIMES = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
_NAME, _BAR = TextColumn("{task.description}"), BarColumn()


class _Rate(ProgressColumn):
    """Things a second, once two have been counted."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


class _Bases(ProgressColumn):
    """Mb done, and Mb a second once that is known."""

    def render(self, task: Task) -> Text:
        rate = f" {task.speed / 1e6:.2f} Mb/s" if task.speed else ""
        return Text(f"{task.completed / 1e6:,.1f}/{(task.total or 0) / 1e6:,.1f} Mb{rate}", style="progress.download")


@contextmanager
def _bar(what: str, *columns: ProgressColumn) -> Iterator[Callable[..., None]]:
    """A bar on stderr that appears with its first news, so that work refused at once shows none."""
    bar = rich.progress.Progress(_NAME, _BAR, *columns, *_TIMES, console=stderr)
    task = bar.add_task(what, total=None, said="")

    def update(**news: Any) -> None:
        bar.start()
        bar.update(task, **news)

    try:
        yield update
    finally:
        bar.stop() if bar.live.is_started else None


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """Per cent, time gone and time to go; called with (done, total)."""
    with _bar(what, TaskProgressColumn()) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def counting(what: str) -> Iterator[Progress]:
    """Things that are counted, 3/14, and how many a second; called with (done, total)."""
    with _bar(what, MofNCompleteColumn(), _Rate()) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def sweeping(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Bases, done and a second, and a word on the rest; called with (bp done, bp in all, word)."""
    with _bar(what, _Bases(), TextColumn("{task.fields[said]}")) as update:
        yield lambda done, total, said: update(completed=done, total=total, said=said)


@contextmanager
def transferring(what: str) -> Iterator[Progress]:
    """Bytes of a file, and how many a second; called with (done, total), total 0 where it is not known."""
    with _bar(what, DownloadColumn(), TransferSpeedColumn()) as update:
        yield lambda done, total: update(completed=done, total=total or None)


@contextmanager
def progress_said(what: str) -> Iterator[Callable[[float, str], None]]:
    """A word on what is going on; called with (part done, message)."""
    with _bar(what, TextColumn("{task.fields[said]}")) as update:
        yield lambda done, said: update(completed=done, total=1.0, said=said)
