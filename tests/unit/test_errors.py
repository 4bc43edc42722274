"""The table of exit codes holds still, and every error shows its three lines."""

from casedb import errors
from casedb.errors import BackupDamagedError, CasedbError, ExitCode

# Written by hand: a number that changes here has changed for every script that relies on it.
RELEASED = {
    "WELL": 0,
    "UNEXPECTED": 1,
    "USAGE": 2,
    "CONFIGURATION": 3,
    "UNREACHABLE": 4,
    "TOOL_FAILED": 5,
    "DAMAGED": 6,
    "REFUSED": 7,
    "LOCKED": 8,
    "DIFFERENT": 9,
    "UNVERIFIED": 10,
    "INTERRUPTED": 130,
    "UNREAD": 141,
    "TERMINATED": 143,
}


def test_no_exit_code_changes_or_is_used_twice() -> None:
    assert {code.name: int(code) for code in ExitCode} == RELEASED


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CasedbError)
    ]
    codes = [kind.exit_code for kind in kinds]

    assert len(codes) == len(set(codes)) == 10


def test_an_error_shows_fact_detail_and_advice() -> None:
    error = BackupDamagedError("it is broken", detail="A byte differs.", hint="Use another.")

    assert str(error) == "ERROR:  it is broken\nDETAIL:  A byte differs.\nHINT:  Use another."
    assert str(BackupDamagedError("it is broken")) == "ERROR:  it is broken"
