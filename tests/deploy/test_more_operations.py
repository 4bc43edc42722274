"""Kernel, firewall, toolkit and schema: known facts in, exact commands out."""

from typing import TYPE_CHECKING, Any

from deploy import firewall as rules_of
from deploy.changes import remarks
from deploy.kernel import LIMITS_FILE, SYSCTL_FILE, limits_text, sysctl_text, wanted
from deploy.operations.firewall import firewall, no_firewall
from deploy.operations.kernel import kernel_settings, no_kernel_settings, unit_limits
from deploy.operations.system import account, managed_file
from deploy.operations.toolkit import installed, schema
from deploy.sizes import GB, MB
from deploy.toolkit import HOME, INSTALLED_FILE, migrations, toolkit
from tests.deploy.conftest import file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.conftest import Host

SERVER = {"shared_buffers": "4GB", "huge_pages": "try", "max_connections": "300"}
MEMORY = {"MemTotal": 16 * GB, "Committed_AS": 2 * GB, "Hugepagesize": 2 * MB}
VALUES, _NOTES = wanted(SERVER, {}, MEMORY, {})


def kernel_facts(values: dict[str, str], *, fixed: bool = False, text: str | None = None) -> Any:
    return {
        "kernel": {
            "values": values,
            "fixed": list(VALUES) if fixed else [],
            "memory": MEMORY,
            "hard_files": 4096,
        },
        "files": {SYSCTL_FILE: file(text) if text else None, LIMITS_FILE: None},
    }


def test_kernel_settings_are_written_and_put_in_force(on_host: "Host") -> None:
    write, load = on_host(kernel_settings, kernel_facts({"vm.swappiness": "60"}), SERVER, {})

    assert write.endswith(sysctl_text(VALUES))
    assert load == f"sysctl --quiet --load {SYSCTL_FILE}"
    assert "-vm.swappiness = 60" in on_host.changes


def test_kernel_settings_as_wanted_need_nothing(on_host: "Host") -> None:
    facts = kernel_facts(VALUES, text=sysctl_text(VALUES))

    assert on_host(kernel_settings, facts, SERVER, {}) == []


def test_a_setting_that_somebody_changed_since_is_put_back(on_host: "Host") -> None:
    facts = kernel_facts({**VALUES, "vm.swappiness": "60"}, text=sysctl_text(VALUES))

    assert len(on_host(kernel_settings, facts, SERVER, {})) == 1


def test_a_host_that_forbids_it_is_left_alone_with_a_remark(on_host: "Host") -> None:
    facts = kernel_facts({"vm.swappiness": "60"}, fixed=True)

    assert on_host(kernel_settings, facts, SERVER, {}) == []
    (remark,) = remarks(on_host.host)
    assert "vm.swappiness = 1" in remark


def test_huge_pages_that_the_kernel_has_no_room_for_are_not_asked_for_again(
    on_host: "Host",
) -> None:
    facts = kernel_facts({**VALUES, "vm.nr_hugepages": "7"}, text=sysctl_text(VALUES))

    assert on_host(kernel_settings, facts, SERVER, {}) == []
    assert "room for 7 of" in remarks(on_host.host)[0]


def test_without_kernel_settings_our_file_goes(on_host: "Host") -> None:
    assert on_host(no_kernel_settings, kernel_facts({}, text="x\n")) == [f"rm -f {SYSCTL_FILE}"]
    assert on_host(no_kernel_settings, kernel_facts({})) == []


def test_the_units_limits_are_written_and_read(on_host: "Host") -> None:
    write, reload = on_host(unit_limits, kernel_facts({}))

    assert write.endswith(limits_text(4096))
    assert reload == "systemctl daemon-reload"


RULES = rules_of.rules([5432], ["10.0.0.0/8"])
LOADED = {
    "files": {
        rules_of.RULES_FILE: file(RULES),
        rules_of.UNIT_FILE: file(rules_of.UNIT_TEXT),
    },
    "firewall": {"loaded": True, "unchanged": True},
    "firewall_unit": {"active": "active", "enabled": "enabled"},
}
BARE = {
    "files": {rules_of.RULES_FILE: None, rules_of.UNIT_FILE: None},
    "firewall": {"loaded": False, "unchanged": False},
    "firewall_unit": {"active": "inactive", "enabled": ""},
}


def test_rules_are_tried_before_they_are_loaded(on_host: "Host") -> None:
    *_files, check, load = on_host(firewall, BARE, RULES)

    assert check == f"/usr/sbin/nft --check --file {rules_of.RULES_FILE}"
    assert f"restart {rules_of.UNIT}" in load


def test_rules_in_force_need_nothing_and_changed_ones_are_loaded_again(on_host: "Host") -> None:
    assert on_host(firewall, LOADED, RULES) == []
    changed = {**LOADED, "firewall": {"loaded": True, "unchanged": False}}
    assert len(on_host(firewall, changed, RULES)) == 2


def test_a_firewall_no_longer_wanted_goes(on_host: "Host") -> None:
    (command,) = on_host(no_firewall, LOADED)

    assert f"disable --quiet --now {rules_of.UNIT}" in command
    assert on_host(no_firewall, BARE) == []


def test_a_file_no_longer_wanted_goes(on_host: "Host") -> None:
    assert on_host(managed_file, {"files": {"/etc/x": file("a\n")}}, "/etc/x", None) == [
        "rm -f /etc/x"
    ]
    assert on_host(managed_file, {"files": {"/etc/x": None}}, "/etc/x", None) == []


def test_the_account_is_made_once_and_mended(on_host: "Host") -> None:
    home = {"kind": "directory", "user": "casedb", "group": "casedb", "mode": "700"}
    about = {"home": HOME, "shell": "/usr/sbin/nologin"}
    is_well = {"accounts": {"casedb": about}, "files": {HOME: home}}
    opened = {**is_well, "files": {HOME: {**home, "mode": "755"}}}
    with_shell = {**is_well, "accounts": {"casedb": {**about, "shell": "/bin/sh"}}}
    none = {"accounts": {"casedb": None}, "files": {HOME: None}}

    assert on_host(account, is_well, "casedb", HOME) == []
    assert on_host(account, none, "casedb", HOME)[0].startswith("useradd")
    assert "-m 700" in on_host(account, opened, "casedb", HOME)[0]
    assert on_host(account, with_shell, "casedb", HOME)[0].startswith("usermod")


def test_the_toolkit_travels_on_standard_input_and_only_if_it_is_another(
    on_host: "Host", tmp_path: "Path"
) -> None:
    ours = toolkit()
    (tmp_path / ours.identity).mkdir()
    (tmp_path / ours.identity / "casedb-1-py3-none-any.whl").write_bytes(b"a wheel")
    there = {"files": {INSTALLED_FILE: file(ours.identity + "\n")}}
    older = {"files": {INSTALLED_FILE: file("0123\n")}}

    assert on_host(installed, there, ours, cache=tmp_path) == []
    (command,) = on_host(installed, older, ours, cache=tmp_path)
    assert command.partition("\n<<")[0] == "python3 -"
    assert on_host.changes == ["/opt/casedb", "-0123", f"+{ours.identity}"]


def test_only_pending_migrations_are_a_change(on_host: "Host") -> None:
    first, *_rest, last = migrations()

    def facts(names: tuple[str, ...]) -> dict[str, Any]:
        contents = {"cases": {"migrations": list(names)}}
        return {"server": {"roles": {}, "databases": {}, "contents": contents, "access": {}}}

    assert on_host(schema, facts(migrations()), "cases") == []
    (command,) = on_host(schema, facts(migrations()[:-1]), "cases")
    assert command == "/usr/local/bin/casedb migrate apply --wait 60 --database cases"
    assert on_host.changes == ["schema of cases", f"+{last}"]
    assert first not in "".join(on_host.changes)
