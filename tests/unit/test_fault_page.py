"""The fault matrix that docs/backups.md shows is the one that runs."""

from pathlib import Path

import pytest

from tests.backup_faults.page import HEAD, cells_in, cells_of, lasting, written

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
    assert cells_in(PAGE) == {("dump", "gone", "heads", "x", "y")}
    assert len(cells_of(ROWS)) == 3


@pytest.mark.parametrize("column", [4, 5])
def test_a_cell_that_came_to_something_else_is_another_cell(column: int) -> None:
    row = list(ROWS[0])
    row[column] = "exit 5, hidden debris"

    assert cells_of([row, *ROWS[1:]]) ^ cells_in(written(PAGE, ROWS)) == {
        ("dump", "SIGTERM", "proof", "exit 143", "exit 0, verified"),
        *cells_of([row]),
    }


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("exit 0, verified, 1.2 s", "exit 0, verified"),
        ("made anew: exit 0, verified, 12.0 s", "made anew: exit 0, verified"),
        ("72 found and named", "N found and named"),
        ("exit 5, 64 MB left", "exit 5, N MB left"),
        ("3 requests answered 403", "N requests answered 403"),
        ("12 parts refused", "N parts refused"),
        # These are what is claimed.
        ("exit 143, nothing left", "exit 143, nothing left"),
        ("exit 8 and 8, the first: complete", "exit 8 and 8, the first: complete"),
        ("exit 8 for up to 10 minutes, verify exit 0",) * 2,
        ("killed, 1 part kept, no database", "killed, 1 part kept, no database"),
        ("exit 5, 2 visible, all whole", "exit 5, 2 visible, all whole"),
    ],
)
def test_of_an_outcome_only_what_changes_from_run_to_run_is_left_out(text: str, stays: str) -> None:
    assert lasting(text) == stays


def test_counts_that_have_changed_are_no_other_cell() -> None:
    before, now = (
        ("verify", "clear set", "truncated", "files", f"{n} found and named", "whole: passed")
        for n in (32, 36)
    )

    assert cells_of([now]) == cells_in(written(PAGE, [before]))


def test_a_phase_that_would_be_read_back_as_two_is_not_written() -> None:
    row = ("rotate", "3 gone, unanswered", "SIGKILL", "files", "killed", "exit 0")

    with pytest.raises(AssertionError, match="gone, unanswered"):
        written(PAGE, [row])


def test_the_page_has_such_a_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "backups.md"

    assert len(cells_in(page.read_text())) > 50
