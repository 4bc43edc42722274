"""Databases of others drill as well: what they dropped, and what they forbid, is no difference."""

from pathlib import Path

import pytest

from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.manifest import Manifest
from backups.reports import DrillReport
from backups.restore import restore
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools


def changed(target: Conninfo, statements: str) -> Conninfo:
    """Return `target` after it has carried out `statements`."""
    with connect(target, purpose="test") as connection:
        connection.execute(statements.encode())
    return target


def drilled(source: Conninfo, root: Path, tools: PostgresTools) -> tuple[Manifest, DrillReport]:
    """Return a dump of `source` and the report of its drill, which has passed."""
    store = LocalStore(root)
    manifest = dump(source, store, tools=tools)
    return manifest, drill(store, manifest.label, tools=tools, with_access=False)


def restored_beside(source: Conninfo, root: Path, tools: PostgresTools) -> None:
    """Restore the newest dump of `source` into a database beside it, and drop that one again."""
    store = LocalStore(root)
    label = store.labels(source.dbname)[-1]
    into = f"{source.dbname}_copy"
    restore(store, Wish(label, into), source.replace(dbname="postgres"), tools=tools)
    changed(source, f"DROP DATABASE {into} WITH (FORCE)")


@pytest.mark.parametrize("dropped", ["SCHEMA public", "EXTENSION plpgsql"])
def test_what_was_dropped_does_not_come_back_with_a_new_database(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path, dropped: str
) -> None:
    changed(empty_database, f"DROP {dropped}; CREATE SCHEMA app; CREATE TABLE app.t (a int)")

    _, report = drilled(empty_database, tmp_path, tools)

    assert report.outcome == "passed"
    restored_beside(empty_database, tmp_path, tools)
