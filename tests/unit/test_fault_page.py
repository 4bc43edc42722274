"""The fault matrix that docs/backups.md shows is the one that runs."""

from pathlib import Path

import pytest

from tests.backup_faults.page import HEAD, cells_in, cells_of, written

ROWS = [
    ("dump", "2 proof", "SIGTERM", "files", "exit 143", "exit 0, verified, 1.2 s"),
    ("dump", "1 heads", "SIGTERM", "locks", "exit 143", "exit 0, verified, 0.9 s"),
    ("dump", "any moment", "SIGKILL", "2 moments", "nothing visible", "exit 0, verified, 2.0 s"),
]
PAGE = "before\n\n" + HEAD + "| dump | gone | heads | x | y |\n\nbehind\n"


def test_phases_that_came_to_the_same_stand_together_and_without_times() -> None:
    assert written(PAGE, ROWS) == (
        "before\n\n" + HEAD + "| dump | SIGTERM | heads, proof | exit 143 | exit 0, verified |\n"
        "| dump | SIGKILL | any moment | nothing visible | exit 0, verified |\n\nbehind\n"
    )


def test_what_was_written_has_the_cells_it_was_written_from() -> None:
    assert cells_in(written(PAGE, ROWS)) == cells_of(ROWS)
    assert cells_in(PAGE) == {("dump", "gone", "heads")}
    assert len(cells_of(ROWS)) == 3


def test_a_phase_that_would_be_read_back_as_two_is_not_written() -> None:
    row = ("rotate", "3 gone, unanswered", "SIGKILL", "files", "killed", "exit 0")

    with pytest.raises(AssertionError, match="gone, unanswered"):
        written(PAGE, [row])


def test_the_page_has_such_a_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "backups.md"

    assert len(cells_in(page.read_text())) > 50
