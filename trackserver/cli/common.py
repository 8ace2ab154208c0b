"""What the verbs share: finding the site, progress on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from trackserver.catalogue.site import Site, find_site

stderr = Console(stderr=True)

site_option = click.option(
    "--site",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The site; by default the nearest trackserver.toml upwards, else TRACKSERVER_SITE.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def open_site(directory: Path | None, **flags: Any) -> Site:
    return Site(find_site(directory), **flags)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; never cut short where stdout is not a terminal."""
    console = Console() if Console().is_terminal else Console(width=240)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column.startswith(" ") else "left", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table, markup=False) if rows else stderr.print("Nothing there.")


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """A bar with count, time gone and time to go, on stderr; called with (done, total)."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr, transient=False) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """The same for things that are counted: 3/14."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("ETA"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=stderr) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress_said(what: str) -> Iterator[Callable[[float, str], None]]:
    """A bar with a word on what is going on, called with (part done, message)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn(),
               TextColumn("ETA"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=stderr) as bar:
        task = bar.add_task(what, total=1.0, said="")
        yield lambda done, said: bar.update(task, completed=done, said=said)
