"""The printed table of a matrix: each cell leaves a row, on whichever worker it ran."""

from collections.abc import Sequence
from pathlib import Path

import pytest

_ROW = "matrix row"
_NOTE = "matrix note"


def leave_row(request: pytest.FixtureRequest, *cells: str) -> None:
    """Leave a row of the table."""
    request.node.user_properties.append((_ROW, cells))


def leave_note(request: pytest.FixtureRequest, text: str) -> None:
    """Leave a line below the table."""
    request.node.user_properties.append((_NOTE, text))


def rows_left(reporter: pytest.TerminalReporter, folder: Path) -> list[tuple[str, ...]]:
    """Return the rows that the tests in `folder` left, sorted."""
    return sorted(
        tuple(map(str, value))
        for name, value in _left(reporter, folder)
        if name == _ROW and isinstance(value, list | tuple)
    )


def _left(reporter: pytest.TerminalReporter, folder: Path) -> list[tuple[str, object]]:
    return [
        (name, value)
        for report in reporter.stats.get("passed", [])
        if isinstance(report, pytest.TestReport) and folder.name in Path(report.nodeid).parts[1:2]
        for name, value in report.user_properties
    ]


def print_table(
    reporter: pytest.TerminalReporter, title: str, headings: Sequence[str], folder: Path
) -> None:
    """Print what the tests in `folder` left."""
    rows = rows_left(reporter, folder)
    notes = [str(value) for name, value in _left(reporter, folder) if name == _NOTE]
    if not rows and not notes:
        return
    table = [tuple(headings), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    reporter.section(title)
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        reporter.line("  ".join(cells).rstrip())
    for note in notes:
        reporter.line(note)


def only_when_named(folder: Path, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of `folder` out unless it, or a file in it, is named on the command line."""
    named = (folder, *folder.iterdir())
    if any(Path(arg.partition("::")[0]).resolve() in named for arg in config.args):
        return
    ours = [item for item in items if folder in item.path.parents]
    if ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if folder not in item.path.parents]
