"""What people and machines see: tables of at most 100 columns, JSON, progress, errors."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backups.progress import Progress
from casedb.cli import streams
from casedb.conninfo import redact
from casedb.errors import CasedbError

MAX_COLUMNS = 100


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print `rows` under `headings`; long cells fold instead of being cut."""
    console = Console(soft_wrap=False, highlight=False)
    console.width = min(MAX_COLUMNS, console.width) if console.is_terminal else MAX_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    # Markup off: a bracket in a path is a bracket.
    with console.capture() as captured:
        console.print(table, markup=False)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_json(value: object) -> None:
    """Print `value` as one JSON object; times in ISO 8601, lengths of time in seconds."""
    streams.has_document = True
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: object) -> Any:
    """Return `value` as what JSON knows."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path | UUID) else value


def print_error(error: CasedbError, *, as_json: bool = False) -> None:
    """Print `error` to standard error, secrets masked; for machines also as JSON to stdout."""
    click.echo(redact(str(error)), err=True)
    if as_json:
        print_json_error(error)


def print_json_error(error: CasedbError) -> None:
    """Print `error` as a JSON object, unless there is a result, which a second would spoil."""
    if streams.has_document:
        return
    shown = {
        "message": redact(error.message),
        "detail": redact(error.detail) if error.detail else None,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }
    print_json({"error": shown})


def each_store(urls: Sequence[str], action: Callable[[str], None]) -> CasedbError | None:
    """Do `action` with each store, whichever of them fails.

    Tells of every failure but the worst by its exit code, which is returned: to be raised when what
    the others had was shown.
    """
    failures: list[CasedbError] = []
    for url in urls:
        try:
            action(url)
        except CasedbError as error:
            failures.append(error)
    failures.sort(key=lambda error: error.exit_code)
    for milder in failures[:-1]:
        print_error(milder)
    return failures[-1] if failures else None


Tell = Callable[[str | Progress], None]


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Show on a terminal what goes on and for how long; yield the function that is told.

    Where the amount of work is known, a percentage and the time left are shown. Nothing is
    shown, and nothing slows down, when standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _step: None
        return
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[share]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # What compresses takes its bytes in bursts: the last half minute's say little of the rest.
        speed_estimate_period=600,
    )
    with bar:
        task = bar.add_task(what, total=None, share="")
        first, last, began = Progress(""), Progress(""), time.monotonic()

        def tell(step: str | Progress) -> None:
            nonlocal first, last, began
            found = Progress(step) if isinstance(step, str) else step
            if found.phase != last.phase and not _goes_on(last, found):
                # Rate and time left belong to one phase, which may begin with much done already.
                first, began = found, time.monotonic()
                bar.reset(task)
            last = found
            share = f"{found.done / found.total:4.0%}" if found.total else ""
            if found.total and found.unit == "bytes":
                passed_s = time.monotonic() - began
                share = " ".join([share, *amounts(found.done - first.done, found.total, passed_s)])
            # update(total=None) would keep the total of the step before, and its time left.
            bar.tasks[0].total = found.total
            bar.update(
                task, description=f"{what}: {found.phase}", completed=found.done, share=share
            )

        yield tell


def _goes_on(last: Progress, found: Progress) -> bool:
    """Whether a phase counts on where the one before it has stopped.

    >>> _goes_on(Progress("reading", 5, 9, "bytes"), Progress("writing", 6, 9, "bytes"))
    True
    >>> _goes_on(Progress("reading", 5, 9, "bytes"), Progress("writing", 6, 8, "bytes"))
    False
    """
    return (
        found.unit == last.unit == "bytes" and found.total == last.total and found.done >= last.done
    )


def amounts(done_bytes: int, total_bytes: int, passed_s: float) -> list[str]:
    """Return of how much, and how fast, for people; without a rate in the first second.

    >>> amounts(5 << 20, 1 << 30, 2.0), amounts(0, 1 << 30, 0.1)
    (['of 1.0 GiB,', '2.5 MiB/s'], ['of 1.0 GiB'])
    """
    if passed_s < 1 or done_bytes <= 0:
        return [f"of {size(total_bytes)}"]
    return [f"of {size(total_bytes)},", f"{size(int(done_bytes / passed_s))}/s"]


def size(size_bytes: int) -> str:
    """Return a size for people, in powers of 1024."""
    amount, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def seconds(duration: timedelta | float) -> str:
    """Return a duration for people, to a tenth of a second."""
    total = duration.total_seconds() if isinstance(duration, timedelta) else duration
    minutes, rest = divmod(total, 60)
    return f"{int(minutes)}m {rest:.0f}s" if minutes else f"{rest:.1f}s"
