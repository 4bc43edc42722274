"""Which PostgreSQL programs a command takes."""

from pathlib import Path
from typing import TYPE_CHECKING

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
