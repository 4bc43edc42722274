"""PgBouncer's operations: nothing where all is as wanted, a reload where that is enough."""

from typing import TYPE_CHECKING, Any

import pytest

from deploy import pooler_host
from deploy.operations.pooler import no_pooler, pooled, pooler_account
from deploy.pooler_host import DROP_IN_FILE, FILES, INI_FILE, STATE_FOLDER, Wish, wanted
from tests.deploy.conftest import file

if TYPE_CHECKING:
    from tests.deploy.conftest import Host

WISH = Wish(("app",), 5432, 100, "a password")
CLUSTER = "postgresql@17-main.service"
GOOD = wanted(WISH, version=(1, 24), cluster_unit=CLUSTER, hard_files=20000)


def facts(**changed: Any) -> dict[str, Any]:
    """Return a host where all is as wanted, but for what is `changed` of its pooler."""
    files = {}
    for path, wish in GOOD.files.items():
        shown = {key: value for key, value in wish.items() if key != "content"}
        files[path] = file(wish["content"], **shown)
    fixed = ("listen_port", "listen_addr", "unix_socket_dir")
    config = {
        name: {"value": value, "changeable": "no" if name in fixed else "yes"}
        for name, value in GOOD.settings.items()
    }
    pooler = {
        "active": "active", "enabled": "enabled", "account": True, "runs_as": "pgbouncer",
        "problem": "", "lingers": "", "port": 6432, "config": config, **changed,
    }  # fmt: skip
    return {
        "os": {"version_id": "13"}, "packages": {"pgbouncer": {"version": "1.24.1-1"}},
        "kernel": {"hard_files": 20000}, "files": files, "pooler": pooler,
    }  # fmt: skip


def run(on_host: "Host", found: dict[str, Any], *, may_restart: bool = True) -> list[str]:
    return on_host(pooled, found, WISH, CLUSTER, may_restart=may_restart)


def test_where_all_is_as_wanted_nothing_is_run(on_host: "Host") -> None:
    assert run(on_host, facts()) == []
    assert on_host(pooler_account, facts()) == []


def test_a_bare_host_gets_its_files_and_a_restart(on_host: "Host") -> None:
    bare = facts(active="inactive", enabled="disabled", account=False, runs_as="", config={})
    bare["files"] = dict.fromkeys(bare["files"])

    (made,) = on_host(pooler_account, bare)
    configure, enable = run(on_host, bare)

    assert made.startswith("useradd --system")
    assert '"restart": true' in configure.replace("\\", "")
    assert enable == "systemctl enable --quiet pgbouncer.service"


def test_the_password_is_not_in_what_a_plan_shows(on_host: "Host") -> None:
    found = facts()
    found["files"][pooler_host.PASSWORDS_FILE] = file("something else")

    run(on_host, found)

    assert pooler_host.PASSWORDS_FILE in on_host.changes
    assert not [line for line in on_host.changes if WISH.password in line]


@pytest.mark.parametrize(
    ("name", "may_restart", "restarts"),
    [("pool_mode", True, False), ("listen_port", True, True)],
)
def test_what_a_reload_can_change_is_reloaded(
    on_host: "Host", name: str, may_restart: bool, restarts: bool
) -> None:
    found = facts()
    found["pooler"]["config"][name] = {**found["pooler"]["config"][name], "value": "other"}

    (command,) = run(on_host, found, may_restart=may_restart)

    assert ('"restart": true' in command.replace("\\", "")) is restarts
    assert f"-{name} = other" in on_host.changes


def test_outside_of_the_window_a_restart_waits_and_is_no_change(on_host: "Host") -> None:
    found = facts()
    found["pooler"]["config"]["listen_port"]["value"] = "6433"

    assert run(on_host, found, may_restart=False) == []
    said = on_host.host.connector_data["casedb_remarks"]["pooler"]
    assert "restarted for listen_port" in said


def test_one_that_runs_as_postgres_is_restarted_as_nobody_of_importance(on_host: "Host") -> None:
    (command,) = run(on_host, facts(runs_as="postgres"))

    assert '"restart": true' in command.replace("\\", "")


def test_without_a_pooler_ours_goes_and_another_stays(on_host: "Host") -> None:
    (gone,) = on_host(no_pooler, facts())
    assert all(path in gone for path in (*FILES, STATE_FOLDER))

    others = facts()
    others["files"][DROP_IN_FILE] = None
    assert others["files"][INI_FILE]
    assert on_host(no_pooler, others) == []
