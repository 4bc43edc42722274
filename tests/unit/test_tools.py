"""What is shown of a program that failed."""

import pytest

from casedb.errors import ToolFailedError
from casedb.tools import check

_LONG_CONTEXT = "\n".join(f"CONTEXT:  line {i}" for i in range(40))


@pytest.mark.parametrize(
    "first",
    [
        "pg_restore: error: could not execute query",
        "psql:<stdin>:3: ERROR:  role does not exist",
        "pg_dump: error: connection failed: FATAL:  no such database",
    ],
)
def test_the_error_itself_is_shown_however_long_its_context(first: str) -> None:
    with pytest.raises(ToolFailedError) as caught:
        check(["/bin/pg_restore"], 1, f"connecting\n{first}\n{_LONG_CONTEXT}")

    assert (caught.value.detail or "").startswith(first)
    assert caught.value.message == "pg_restore failed (exit code 1)"


def test_without_an_error_the_end_is_shown() -> None:
    with pytest.raises(ToolFailedError) as caught:
        check(["/bin/x"], -9, "\n".join(map(str, range(20))))

    assert caught.value.message == "x failed (ended by SIGKILL)"
    assert (caught.value.detail or "").splitlines()[-1] == "19"
