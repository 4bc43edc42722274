"""Our operations the way pyinfra tests its own: known facts in, exact commands out."""

from typing import Any

import pytest

from deploy.conf import AUTO_CONF, Place
from deploy.operations.cluster import cluster, configuration
from deploy.operations.postgres import access, database, extensions, grants, roles
from deploy.operations.system import managed_file, packages
from deploy.statements import NEW_ROLE, Database, Role, database_statements, plain_role
from tests.deploy.conftest import Host, file

PLACE = Place(15, "main")


def test_packages_that_are_there_and_held_need_nothing(on_host: Host) -> None:
    facts = {"packages": {"postgresql-15": {"version": "15.1", "held": True}}}

    assert on_host(packages, facts, ["postgresql-15"], held=["postgresql-15"]) == []


def test_a_package_is_installed_and_held(on_host: Host) -> None:
    commands = on_host(packages, {"packages": {}}, ["a", "b"], held=["a"])

    assert commands[0].endswith("update >/dev/null")
    assert commands[1].endswith("install a b >/dev/null")
    assert commands[2] == "apt-mark hold a >/dev/null"


def test_a_package_that_somebody_released_is_held_again(on_host: Host) -> None:
    facts = {"packages": {"a": {"version": "1", "held": False}}}

    assert on_host(packages, facts, ["a"], held=["a"]) == ["apt-mark hold a >/dev/null"]


@pytest.mark.parametrize(
    "found",
    [
        None,
        file("other\n"),
        file("wanted\n", mode="666"),
        file("wanted\n", user="nobody"),
        {"kind": "link", "mode": "777", "user": "root", "group": "root"},
    ],
)
def test_a_file_that_differs_in_anything_is_written_whole(
    on_host: Host, found: dict[str, Any] | None
) -> None:
    (command,) = on_host(managed_file, {"files": {"/etc/x": found}}, "/etc/x", "wanted\n")

    text, _, stdin = command.partition("\n<<")
    assert stdin == "wanted\n"
    assert "umask 077 && t=$(mktemp /etc/x.XXXXXXXX )" in text
    assert text.index("chmod 644 $t") < text.index("mv -fT $t /etc/x")


def test_a_file_as_wanted_is_left_alone(on_host: Host) -> None:
    facts = {"files": {"/etc/x": file("wanted\n")}}

    assert on_host(managed_file, facts, "/etc/x", "wanted\n") == []


def test_a_secret_files_content_is_in_no_diff_and_no_argument(on_host: Host) -> None:
    facts = {"files": {"/etc/x": None}}

    (command,) = on_host(managed_file, facts, "/etc/x", "hush\n", secret=True)

    assert "hush" not in command.partition("\n<<")[0]
    assert "hush" not in "".join(on_host.changes)


UNIT = {"active": "active", "enabled": "enabled"}


def test_a_cluster_that_exists_is_never_made_anew(on_host: Host) -> None:
    there = {"major": 15, "name": "main", "port": 5432, "running": False}

    assert on_host(cluster, standing(there, made=file("")), PLACE, port=5432) == []


def standing(*clusters: dict[str, Any], **differences: Any) -> dict[str, Any]:
    """Return the facts that `cluster` compares."""
    made = differences.pop("made", None)
    files = {PLACE.made_by_us: made}
    return {
        "clusters": list(clusters), "unit": UNIT, "files": files, "listening": [], **differences
    }  # fmt: skip


def test_a_cluster_of_others_is_refused_unless_it_is_to_be_taken_over(on_host: Host) -> None:
    there = {"major": 15, "name": "main", "port": 5432, "running": True}

    (refused,) = on_host(cluster, standing(there), PLACE, port=5432)
    (taken,) = on_host(cluster, standing(there), PLACE, port=5432, adopt=True)

    assert "was not made by casedb" in refused
    assert refused.endswith("exit 1")
    assert taken == f"install -m 600 -o postgres -g postgres /dev/null {PLACE.made_by_us}"


def test_a_port_that_another_program_has_is_refused(on_host: Host) -> None:
    (command,) = on_host(cluster, standing(listening=[22]), PLACE, port=22)

    assert "port 22 is in use by another program" in command


def test_a_port_of_another_cluster_is_refused_and_the_cluster_left_alone(on_host: Host) -> None:
    other = {"major": 14, "name": "old", "port": 5432, "running": True}

    (command,) = on_host(cluster, standing(other), PLACE, port=5432)

    assert command.startswith("echo 'port 5432 belongs to cluster 14/old")
    assert command.endswith(">&2; exit 1")


def test_a_new_cluster_has_utf8_and_checksums_and_starts_with_the_machine(on_host: Host) -> None:
    unit = {"active": "inactive", "enabled": "disabled"}

    make, mark, enable = on_host(cluster, standing(unit=unit), PLACE, port=5433)

    assert "--port 5433 --encoding UTF8 --locale C.UTF-8" in make
    assert "--data-checksums" in make
    assert mark.endswith(PLACE.made_by_us)
    assert enable == "systemctl enable --quiet postgresql@15-main.service"


def configured(**differences: Any) -> dict[str, Any]:
    owned = {"user": "postgres", "group": "postgres"}
    files = {
        "/etc/postgresql/15/main/postgresql.conf": file("a\n", **owned),
        "/etc/postgresql/15/main/pg_hba.conf": file("b\n", **owned, mode="640"),
        "/etc/postgresql/15/main/pg_ident.conf": file("c\n", **owned, mode="640"),
        "/var/lib/postgresql/15/main/postgresql.auto.conf": file(AUTO_CONF, **owned, mode="600"),
    }
    server = {"settings": {"work_mem": {"pending_restart": False}}}
    return {"files": files, "server": server, **differences}


FILES = {"postgresql.conf": "a\n", "pg_hba.conf": "b\n", "pg_ident.conf": "c\n"}


def test_a_configuration_as_wanted_is_left_alone(on_host: Host) -> None:
    assert on_host(configuration, configured(), PLACE, files=FILES, may_restart=True) == []


def test_what_alter_system_set_is_drift(on_host: Host) -> None:
    facts = configured()
    auto = "/var/lib/postgresql/15/main/postgresql.auto.conf"
    facts["files"][auto] = file(
        AUTO_CONF + "work_mem = '1GB'\n", user="postgres", group="postgres", mode="600"
    )

    (command,) = on_host(configuration, facts, PLACE, files=FILES, may_restart=True)

    assert command.startswith("python3 -\n<<")
    assert "-work_mem = '1GB'" in on_host.changes


def test_another_wording_of_an_empty_auto_conf_is_no_drift(on_host: Host) -> None:
    facts = configured()
    auto = "/var/lib/postgresql/15/main/postgresql.auto.conf"
    facts["files"][auto] = file(
        "# something else\n\n", user="postgres", group="postgres", mode="600"
    )

    assert on_host(configuration, facts, PLACE, files=FILES, may_restart=True) == []


def test_a_pending_restart_is_done_in_its_window_only(on_host: Host) -> None:
    facts = configured(server={"settings": {"max_connections": {"pending_restart": True}}})

    assert on_host(configuration, facts, PLACE, files=FILES, may_restart=False) == []
    assert len(on_host(configuration, facts, PLACE, files=FILES, may_restart=True)) == 1


def test_a_stopped_server_is_started(on_host: Host) -> None:
    facts = configured(server=None)

    assert len(on_host(configuration, facts, PLACE, files=FILES, may_restart=False)) == 1


SERVER: dict[str, Any] = {"roles": {}, "databases": {}, "contents": {}, "access": {}}


def test_sql_goes_in_on_standard_input_and_unlogged(on_host: Host) -> None:
    wishes = [plain_role("o'dd", login=True, password="hush-hush")]

    (command,) = on_host(roles, {"server": SERVER}, wishes)

    text, _, sql = command.partition("\n<<")
    assert text == (
        "cd / && LC_ALL=C runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -p 5432"
        " -d postgres -f -"
    )
    assert sql.index("SET log_statement = 'none'") < sql.index('CREATE ROLE "o\'dd"')
    assert "hush-hush" not in command
    assert "SCRAM" not in "".join(on_host.changes)


def test_roles_as_wanted_need_nothing(on_host: Host) -> None:
    found = {
        "roles": {"x": {**NEW_ROLE, "login": True}},
        "databases": {},
        "contents": {},
        "access": {},
    }

    assert on_host(roles, {"server": found}, [Role("x", login=True)]) == []


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (roles, [[Role("x")]]),
        (database, [Database("x")]),
        (extensions, ["x", {"pgaudit": True}]),
        (access, ["x"]),
        (grants, ["x", "SCHEMA", "public", {}]),
    ],
)
def test_a_server_that_is_down_fails_its_host_and_says_so(
    on_host: Host, operation: Any, arguments: list[Any]
) -> None:
    assert on_host(operation, {"server": None}, *arguments) == [
        "echo 'the server does not answer' >&2; exit 1"
    ]
    (command,) = on_host(operation, {"server": {"error": "FATAL: no"}}, *arguments)
    assert "FATAL: no" in command


def test_grants_on_a_schema_leave_just_what_is_wanted(on_host: Host) -> None:
    schemas = {"public": {"owner": "o", "grants": {"o": ["USAGE"], "PUBLIC": ["USAGE"]}}}
    facts = {"server": {**SERVER, "contents": {"x": {"schemas": schemas}}}}

    (command,) = on_host(grants, facts, "x", "SCHEMA", "public", {"a": ["USAGE"]})

    assert 'REVOKE USAGE ON SCHEMA "public" FROM PUBLIC CASCADE' in command
    assert 'GRANT USAGE ON SCHEMA "public" TO "a"' in command
    assert '"o"' not in command


def test_access_runs_sql_roles_only_if_a_trial_of_them_changed_something(on_host: Host) -> None:
    def facts(after: list[str]) -> dict[str, Any]:
        return {"server": {**SERVER, "access": {"x": {"before": ["a"], "after": after}}}}

    assert on_host(access, facts(["a"]), "x") == []
    (command,) = on_host(access, facts(["b"]), "x")
    assert "CREATE ROLE" in command
    assert on_host.changes == ["roles and access of x", "-a", "+b"]


def test_extensions_are_made_and_dropped(on_host: Host) -> None:
    has = {"old": {"version": "1", "default_version": "1", "schema": "public"}}
    facts = {"server": {**SERVER, "contents": {"x": {"extensions": has}}}}

    (command,) = on_host(extensions, facts, "x", {"pgaudit": True, "old": False})

    assert 'CREATE EXTENSION "pgaudit"' in command
    assert 'DROP EXTENSION "old"' in command


def test_what_a_restore_has_noted_for_its_undo_stays() -> None:
    found = {
        "owner": "case_owner", "connection_limit": -1, "tablespace": "pg_default", "comment": "",
        "settings": {"casedb.mark": "development", "casedb.previous": "kept", "work_mem": "1MB"},
    }  # fmt: skip
    wish = Database("app", settings={"casedb.mark": "production"})

    made = [statement.sql for statement in database_statements(found, wish)]

    assert made == [
        'ALTER DATABASE "app" RESET "work_mem"',
        """ALTER DATABASE "app" SET "casedb"."mark" TO 'production'""",
    ]
