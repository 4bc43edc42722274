"""Which PostgreSQL programs a command takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from casedb.tools import wheel_tools

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb


def test_verify_lists_the_archive_with_the_programs_that_pg_bin_names(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    """They may lie where nobody finds them by himself, as the hint of the error says."""
    store = tmp_path / "store"
    assert brought_up("dump", "--store", str(store)).code == 0
    named, called = tmp_path / "bin", tmp_path / "called"
    named.mkdir()
    for program in ("psql", "pg_restore"):
        wrapper = named / program
        real = brought_up.tools[program]
        wrapper.write_text(f'#!/bin/sh\necho {program} >>{called}\nexec {real} "$@"\n')
        wrapper.chmod(0o755)

    verified = brought_up("verify", "latest", "--store", str(store), PG_BIN=str(named))

    assert verified.code == 0, verified.err
    assert "pg_restore" in called.read_text().splitlines()


def test_verify_refuses_a_pg_bin_without_programs_as_other_commands_do(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert brought_up("dump", "--store", str(store)).code == 0

    refused = brought_up("verify", "latest", "--store", str(store), PG_BIN=str(tmp_path / "none"))

    assert refused.code == 3
    assert "there are no PostgreSQL programs in" in refused.err


def test_verify_passes_over_programs_of_another_major_version(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    """A store holds backups of before an upgrade, too."""
    store = tmp_path / "store"
    assert brought_up("dump", "--store", str(store)).code == 0
    other = wheel_tools(16 if brought_up.tools.major == 18 else 18)

    verified = brought_up("verify", "latest", "--store", str(store), PG_BIN=str(other.bindir))

    assert verified.code == (0 if brought_up.has_programs() else 10), verified.err
