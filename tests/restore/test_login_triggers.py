"""What a database does at every login neither stops drills and restores of it nor changes a row."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.partial import restore_part
from backups.restore import restore
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.seed import seed_demo
from casedb.tools import PostgresTools
from tests.restore.conftest import Night

pytestmark = pytest.mark.since_17
AT_LOGIN = {
    "raises": "IF session_user <> 'case_backup' THEN RAISE 'only backups'; END IF",
    "writes": "INSERT INTO public.logins DEFAULT VALUES",
}


@pytest.fixture(params=list(AT_LOGIN.values()), ids=list(AT_LOGIN))
def night(
    request: pytest.FixtureRequest,
    database: Conninfo,
    cluster: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
) -> Iterator[Night]:
    """As every test's, but with a trigger on login; the test's own sessions do not fire it."""
    seed_demo(database.replace(user="case_seed"))
    quiet = "-c event_triggers=off"
    live, admin = database.replace(options=quiet), cluster.replace(options=quiet)
    with connect(live, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE public.logins (who text DEFAULT session_user);"
            "CREATE FUNCTION public.at_login() RETURNS event_trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER AS $$ BEGIN {request.param}; END $$;"
            "CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.at_login();"
            "ALTER EVENT TRIGGER at_login ENABLE ALWAYS"
        )
    store = LocalStore(tmp_path / "store")
    manifest = dump(database.replace(user="case_backup"), store, tools=tools)
    found = Night(live, admin, store, manifest, tools)
    yield found
    found.drop_others()


def logins(night: Night) -> int:
    return int(night.ask("SELECT count(*) FROM public.logins"))


def test_a_drill_passes(night: Night) -> None:
    report = drill(night.store, night.label, tools=night.tools, with_access=False)

    assert report.outcome == "passed"


def test_a_restore_beside_has_the_rows_of_the_backup(night: Night, cluster: Conninfo) -> None:
    beside = f"{night.name}_copy"

    restore(night.store, Wish(night.label, beside), cluster, tools=night.tools)

    (dumped,) = (table for table in night.manifest.tables if table.name == "logins")
    assert night.ask("SELECT count(*) FROM public.logins", beside) == dumped.rows


def test_a_restore_that_replaces_tells_what_was_lost_and_can_be_undone(
    night: Night, cluster: Conninfo
) -> None:
    night.do("DELETE FROM public.logins; INSERT INTO public.logins VALUES ('one'), ('two')")

    done = restore(night.store, night.wish, cluster, tools=night.tools)

    assert done.swap
    assert any("public.logins" in line for line in done.swap.not_restored or ())
    plan = plan_undo(cluster, night.name)
    assert plan.changes == ()
    undone = undo_restore(cluster, plan, confirmed=False)
    assert undone.changes == ()
    assert logins(night) == 2


def test_comparing_a_part_with_the_living_database_leaves_that_as_it_is(
    night: Night, cluster: Conninfo
) -> None:
    before = logins(night)
    wish = Wish(night.label, f"{night.name}_part", part=("users",))

    report = restore_part(night.store, wish, cluster, tools=night.tools, live=night.name)

    (found,) = report.tables
    assert (found.changed, found.only_in_backup, found.only_in_live) == (0, 0, 0)
    assert logins(night) == before
