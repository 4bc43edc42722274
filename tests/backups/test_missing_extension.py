"""Where an extension of the backup was never installed, nothing is tried, and nothing is made."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.attempt import Wish
from backups.catalog import read_backup
from backups.drill import drill
from backups.dump import dump
from backups.restore import restore
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import RefusedError, UnverifiedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_in

pytestmark = pytest.mark.full_server


@pytest.fixture(scope="module")
def bare_tools(cluster: Conninfo) -> Iterator[PostgresTools]:
    """The same programs, as on a machine where the extension hstore was never installed."""
    with connect(cluster, purpose="test") as connection:
        rows = connection.execute("SELECT name, setting FROM pg_config()").fetchall()
    places = {name: Path(where) for name, where in rows}
    wanted = [places[name] for name in ("BINDIR", "SHAREDIR", "PKGLIBDIR")]
    top = os.path.commonpath(wanted)
    # Where the server's own user can read it, too.
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        # A program looks for the other two by the way that leads there from its own folder.
        for place in wanted:
            shutil.copytree(
                place,
                Path(root, place.relative_to(top)),
                ignore=shutil.ignore_patterns("hstore*"),
                dirs_exist_ok=True,
            )
        yield tools_in(Path(root, wanted[0].relative_to(top)))


@pytest.fixture
def with_hstore(small: Conninfo) -> Conninfo:
    with connect(small, purpose="test") as connection:
        connection.execute("CREATE EXTENSION hstore; CREATE TABLE three (h hstore)")
    return small


def test_a_drill_proves_nothing(
    with_hstore: Conninfo, tools: PostgresTools, bare_tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    label = dump(with_hstore, store, tools=tools).label

    with pytest.raises(UnverifiedError, match="extensions are missing") as caught:
        drill(store, label, tools=bare_tools, with_access=False)

    assert caught.value.detail == "Not installed: hstore."
    assert read_backup(store, with_hstore.dbname, label).drilled is None
    assert drill(store, label, tools=tools, with_access=False).outcome == "passed"


def test_a_restore_is_refused(
    with_hstore: Conninfo, tools: PostgresTools, bare_tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    wish = Wish(dump(with_hstore, store, tools=tools).label, "new", create_roles=True)

    with throwaway_cluster(bare_tools) as admin:
        with pytest.raises(RefusedError, match="the server lacks extensions") as caught:
            restore(store, wish, admin, tools=tools)
        with connect(admin, purpose="test") as connection:
            made = connection.execute("SELECT FROM pg_database WHERE datname ~ 'new'").fetchall()
        with throwaway_cluster(tools) as whole:
            assert restore(store, wish, whole, tools=tools).database == "new"

    assert caught.value.detail == "Missing: hstore."
    assert made == []
