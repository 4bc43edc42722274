"""PgBouncer's configuration: decided in one place, and in docker/ as decided."""

from pathlib import Path

import pytest

from deploy.pooler import RESET, ini, settings, sizes
from deploy.tuning import phase0

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("connections", [22, 50, 100, 300, 5000])
def test_pool_and_reserve_leave_twenty_connections_to_others(connections: int) -> None:
    found = sizes(connections)

    assert found.pool >= 1
    assert found.reserve >= 1
    assert found.pool + found.reserve == connections - 20
    assert found.clients >= found.pool


@pytest.mark.parametrize("databases", [1, 2, 3, 7])
def test_the_pools_of_all_databases_together_leave_twenty_connections(databases: int) -> None:
    found = sizes(100, databases=databases)

    assert databases * (found.pool + found.reserve) <= 80
    assert found.clients == 800


def test_a_server_without_connections_to_spare_gets_no_pooler() -> None:
    with pytest.raises(ValueError, match="none for a pooler"):
        sizes(21)


@pytest.mark.parametrize(("version", "allowed"), [((1, 18), False), ((1, 21), True)])
def test_prepared_statements_are_allowed_where_the_version_tracks_them(
    version: tuple[int, int], allowed: bool
) -> None:
    found = settings(sizes(100), version=version, auth_file="/x")

    assert ("max_prepared_statements" in found) is allowed


def test_every_session_is_reset_whatever_the_version() -> None:
    for version in ((1, 18), (1, 24)):
        found = settings(sizes(100), version=version, auth_file="/x")
        assert RESET.items() <= found.items()
        assert found["pool_mode"] == "transaction"
        assert found["auth_type"] == "scram-sha-256"


def test_the_composed_pooler_has_the_settings_decided_here() -> None:
    text = (ROOT / "docker/pgbouncer/pgbouncer.ini").read_text()
    expected = settings(
        sizes(100),
        version=(1, 24),
        auth_file="/run/secrets/pgbouncer_userlist",
        listen="0.0.0.0",
    )
    database = {"case_management": "host=postgres port=5432 dbname=case_management"}

    lines = [line for line in text.splitlines() if line and not line.startswith(";")]
    assert lines == [line for line in ini(database, expected).splitlines() if line]


def test_the_composed_server_has_the_six_values_of_the_plan() -> None:
    text = (ROOT / "docker/postgres/phase0.conf").read_text()

    for setting in phase0().settings:
        assert f"\n{setting.name} = '{setting.value}'\n" in text
