"""PgBouncer on a host: closed but for the application, and nothing opens it by accident."""

from typing import Any

import pytest

from deploy import pooler_host
from deploy.hba import parse_rules
from deploy.pooler import RESET
from deploy.pooler_host import Wanted, Wish, differing, rules, version_of


def wanted(version: tuple[int, int] = (1, 24), **changed: Any) -> Wanted:
    wish = Wish(**{"databases": ("app",), "server_port": 5432, "max_connections": 100,
                   "password": "not a real one", **changed})  # fmt: skip
    return pooler_host.wanted(wish, version=version, cluster_unit="pg.service", hard_files=20000)


def ini(found: Wanted) -> str:
    return found.files[pooler_host.INI_FILE]["content"]


def test_tls_is_asked_of_clients_and_the_server_is_verified() -> None:
    settings = wanted().settings

    assert settings["client_tls_sslmode"] == "require"
    assert settings["server_tls_sslmode"] == "verify-full"
    assert RESET.items() <= settings.items()
    assert "app = host=127.0.0.1 port=5432 dbname=app\n" in ini(wanted())


def test_it_listens_on_this_machine_alone_unless_asked() -> None:
    assert "\nlisten_addr = 127.0.0.1\n" in ini(wanted())
    assert "\nlisten_addr = *\n" in ini(wanted(listen="*"))


def test_nobody_but_the_application_comes_by_the_network() -> None:
    found = rules(Wish(("app",), 5432, 100, "x", networks=("10.0.0.0/8", "fd00::/8")))

    remote = [rule for rule in found if rule.type != "local"]
    assert {rule.type for rule in remote} == {"hostssl"}
    assert {rule.users for rule in remote} == {("case_app",)}
    assert [rule.address for rule in remote] == [
        "127.0.0.1/32", "::1/128", "10.0.0.0/8", "fd00::/8",
    ]  # fmt: skip
    assert {rule.method for rule in found if "postgres" in rule.users} == {"peer"}
    text = wanted().files[pooler_host.RULES_FILE]["content"]
    assert len(parse_rules(text)) == 5


def test_the_password_is_in_one_file_which_others_cannot_read() -> None:
    found = wanted(password='a "quoted" one')

    with_it = [path for path, file in found.files.items() if "quoted" in file["content"]]
    assert with_it == [pooler_host.PASSWORDS_FILE]
    assert found.files[pooler_host.PASSWORDS_FILE]["mode"] == "640"
    assert '"case_pooler" "a ""quoted"" one"\n' in found.files[with_it[0]]["content"]
    assert "not a real one" not in repr(Wish(("app",), 1, 100, "not a real one"))


@pytest.mark.parametrize(
    "name",
    ["server_reset_query", "server_reset_query_always", "auth_type", "auth_query", "pool_mode",
     "client_tls_sslmode", "server_tls_sslmode", "admin_users", "listen_addr", "user",
     "max_db_connections"],
)  # fmt: skip
def test_an_inventory_cannot_open_what_is_closed(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        wanted(chosen={name: "anything"})


def test_an_inventory_replaces_what_it_may_once() -> None:
    found = wanted(chosen={"query_wait_timeout": 5, "log_connections": 0})

    assert ini(found).count("query_wait_timeout") == 1
    assert "query_wait_timeout = 5\n" in ini(found)
    # PgBouncer may say the same in other words, so it is not held to these.
    assert "query_wait_timeout" not in found.settings


@pytest.mark.parametrize("words", ["two\nlines", "a\rb", "a\0b"])
def test_a_line_break_is_no_way_to_add_a_setting(words: str) -> None:
    for changed in ({"password": words}, {"chosen": {"log_stats": words}}, {"databases": (words,)}):
        with pytest.raises(ValueError, match="line break"):
            wanted(**changed)
    with pytest.raises(ValueError, match="no name of a setting"):
        wanted(chosen={words: "1"})


def test_a_database_of_any_name_is_one_entry() -> None:
    assert "\"my-app\" = host=127.0.0.1 port=5432 dbname='my-app'\n" in ini(
        wanted(databases=("my-app",))
    )


def test_the_version_is_the_packages_else_the_one_of_this_debian() -> None:
    assert version_of("1.25.1-1.pgdg12+1", "12") == (1, 25)
    assert version_of(None, "13") == (1, 24)
    assert "max_prepared_statements" in ini(wanted((1, 24)))
    assert "max_prepared_statements" not in ini(wanted((1, 18)))


def test_what_runs_is_compared_by_value() -> None:
    config = {"a": {"value": "30"}, "b": {"value": "x"}}

    assert differing({"a": "30.0", "b": "x"}, config) == []
    assert differing({"a": "31", "b": "X", "c": ""}, config) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("found", "may_restart", "port"),
    [
        ({"runs_as": "", "port": None}, False, 6433),
        ({"runs_as": "pgbouncer", "port": 6432}, True, 6433),
        # It waits for its restart, and a restore tonight has to find it.
        ({"runs_as": "pgbouncer", "port": 6432}, False, 6432),
        # Debian's own, which is restarted as ours at once.
        ({"runs_as": "postgres", "port": 6432}, False, 6433),
    ],
)
def test_the_console_is_where_pgbouncer_will_be(
    found: dict[str, Any], may_restart: bool, port: int
) -> None:
    assert pooler_host.console(found, 6433, may_restart=may_restart) == (
        f"host=/run/pgbouncer port={port} dbname=pgbouncer user=postgres"
    )
