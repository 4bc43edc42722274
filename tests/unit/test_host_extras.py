"""What a host becomes beside its server, without a host: kernel, firewall, PGDG, toolkit."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy import firewall, hba, kernel, pgdg
from deploy.conf import Place, ident_conf
from deploy.hba import parse_rules
from deploy.sizes import GB, MB
from deploy.toolkit import migrations, settings_text, toolkit

SERVER = {"shared_buffers": "4GB", "huge_pages": "try", "max_connections": "300"}
ROOMY = {"MemTotal": 16 * GB, "Committed_AS": 2 * GB, "Hugepagesize": 2 * MB}


def test_huge_pages_are_reserved_where_the_settings_ask_for_them() -> None:
    # PostgreSQL 18 itself says 4248 MB of shared memory for 4 GB and 40 connections.
    assert 4248 / 2 < kernel.huge_pages(SERVER, page_bytes=2 * MB) < 4400 / 2
    assert kernel.huge_pages({**SERVER, "huge_pages": "off"}, page_bytes=2 * MB) == 0
    # Blocks of 8 kB, as somebody may have written it in the inventory.
    blocks = {**SERVER, "shared_buffers": str(4 * GB // 8192)}
    assert kernel.huge_pages(blocks, page_bytes=2 * MB) == kernel.huge_pages(
        SERVER, page_bytes=2 * MB
    )


def test_memory_is_not_accounted_strictly_where_programs_would_no_longer_start() -> None:
    values, notes = kernel.wanted(SERVER, {}, ROOMY, {})
    full, said = kernel.wanted(SERVER, {}, {**ROOMY, "Committed_AS": 12 * GB}, {})

    assert (values["vm.overcommit_memory"], notes) == ("2", [])
    assert "vm.overcommit_memory" not in full
    assert "left alone" in said[0]


def test_strict_accounting_in_force_does_not_come_and_go_with_the_load() -> None:
    busy = {**ROOMY, "Committed_AS": 12 * GB}

    values, _notes = kernel.wanted(SERVER, {"vm.overcommit_memory": "2"}, busy, {})

    assert values["vm.overcommit_memory"] == "2"


def test_an_inventory_replaces_or_leaves_out_a_kernel_setting() -> None:
    values, _notes = kernel.wanted(
        SERVER, {}, ROOMY, {"vm.swappiness": 10, "vm.nr_hugepages": None, "net.core.somaxconn": 999}
    )

    assert values["vm.swappiness"] == "10"
    assert "vm.nr_hugepages" not in values
    assert "net.core.somaxconn = 999\n" in kernel.sysctl_text(values)


def test_a_limit_is_never_above_what_the_host_can_give() -> None:
    assert "LimitNOFILE=4096\n" in kernel.limits_text(4096)
    assert "LimitNOFILE=65536\n" in kernel.limits_text(1 << 30)


def test_the_firewall_speaks_of_the_servers_port_alone() -> None:
    rules = firewall.rules([5432], ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"])

    assert "tcp dport 5432 ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept" in rules
    assert "tcp dport 5432 ip6 saddr { fd00::/8 } accept" in rules
    assert "policy accept" in rules
    drops = [line.strip() for line in rules.splitlines() if "drop" in line]
    assert drops == ["tcp dport 5432 drop"]


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        firewall.rules([5432], ["10.0.0.0/99"])


def test_pgdg_is_signed_by_debians_copy_of_its_key_or_by_the_inventorys() -> None:
    debians = pgdg.source({}, "bookworm", own_key=False)
    own = pgdg.source({"url": "https://mirror.example/pgdg", "key": "x"}, "trixie", own_key=True)

    assert "URIs: https://apt.postgresql.org/pub/repos/apt\n" in debians
    assert "Suites: bookworm-pgdg\n" in debians
    assert f"Signed-By: {pgdg.DEBIAN_KEY}\n" in debians
    assert "URIs: https://mirror.example/pgdg\n" in own
    assert f"Signed-By: {pgdg.KEY_FILE}\n" in own


@pytest.mark.parametrize("wanted", [{"uri": "x"}, {"url": "https://a b"}, {"url": "https://a\nb"}])
def test_a_pgdg_that_makes_no_sense_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pgdg"):
        pgdg.source(wanted, "bookworm", own_key=False)


def test_the_toolkits_settings_are_toml_whatever_is_in_them() -> None:
    chosen = {"store": ["/a", 's3://b"c\\d'], "keep_last": 3, "use_database_url": True}

    text = settings_text(Place(15, "main"), port=5433, database="o'dd", chosen=chosen)

    found = tomllib.loads(text)
    assert found["conninfo"] == "host=/var/run/postgresql port=5433"
    assert found["database"] == "o'dd"
    assert found["pg_bin"] == "/usr/lib/postgresql/15/bin"
    assert {name: found[name] for name in chosen} == chosen
    with pytest.raises(ValueError, match="line breaks"):
        settings_text(Place(15, "main"), port=1, database="a\nb", chosen={})


def test_another_line_anywhere_makes_another_toolkit(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").write_text("click\n")
    (tmp_path / "casedb/__pycache__").mkdir(parents=True)
    (tmp_path / "casedb/x.py").write_text("a\n")
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).touch()
    first = toolkit(tmp_path).identity
    (tmp_path / "casedb/__pycache__/x.pyc").write_text("compiled")
    assert toolkit(tmp_path).identity == first

    (tmp_path / "casedb/x.py").write_text("b\n")

    assert toolkit(tmp_path).identity != first


def test_what_is_no_checkout_installs_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only a checkout"):
        toolkit(tmp_path)


def test_the_migrations_are_those_of_the_checkout_without_their_rollbacks() -> None:
    found = migrations()

    assert found[0] == "0001-create-users"
    assert not any("rollback" in name for name in found)


def test_the_toolkits_account_is_its_roles_and_nobody_else_by_its_socket() -> None:
    rules = hba.local_rules([], hba.TOOLKIT_ROLES)
    text = hba.render(rules)

    assert hba.check(rules) == []
    assert hba.check(parse_rules(text)) == []
    assert [rule.users for rule in rules if rule.method == "peer"] == [
        ("postgres",),
        hba.TOOLKIT_ROLES,
    ]
    assert 'peer  map="casedb"' in text
    mapped = ident_conf(hba.TOOLKIT_ROLES)
    assert "casedb  casedb  case_migrator\n" in mapped
    assert "postgres" not in mapped
    # The application is not one of them: it has a password and row security.
    assert "case_app" not in mapped
