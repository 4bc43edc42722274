"""casedb on the host: whole or not at all, without a password, and it does its daily work."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backups.sealing import new_key

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbooks" / "restore.md"
RESTORE = "sudo casedb restore latest --confirm case_management"


def casedb(host: "Host", words: str) -> Any:
    return json.loads(host.run(f"casedb {words} --json"))


def test_the_schema_was_brought_to_its_head_by_the_hosts_own_casedb(host: "Host") -> None:
    found = casedb(host, "migrate status")

    assert (found["pending"], found["problems"]) == ([], [])
    assert found["applied"][0]["id"] == "0001-create-users"
    assert found["applied"][0]["by"] == f"casedb@{host.name}"
    assert host.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'cases'") == "case_owner"


def test_seed_dump_and_drill_work_on_the_host_as_they_are(host: "Host") -> None:
    casedb(host, "seed")

    label = casedb(host, "dump")["label"]
    drilled = casedb(host, "drill latest")

    assert drilled["label"] == label
    assert (drilled["outcome"], drilled["differences"]) == ("passed", [])
    assert host.run("ls -d /tmp/casedb-scratch-*", check=False) == ""


def test_a_night_on_the_host_goes_by_the_runbook_and_leaves_the_store_to_the_timers(
    host: "Host", tmp_path: Path
) -> None:
    def fired(verb: str) -> None:
        host.run(f"systemctl start casedb-{verb}@case_management.service")

    def on_call(command: str) -> str:
        return host.run(f"runuser -u {host.about.user} -- {command}")

    def cases() -> str:
        return host.sql("SELECT count(*) FROM cases")

    assert f"\n{RESTORE}\n" in RUNBOOK.read_text()
    casedb(host, "seed")
    before = cases()
    fired("dump")
    host.sql("ALTER TABLE cases DISABLE TRIGGER ALL; DELETE FROM cases")
    lost = cases()

    new_key(tmp_path / "backup.key")
    host.run("umask 077; cat >/run/backup.key", (tmp_path / "backup.key").read_text())
    on_call("sudo casedb restore latest --plan --key /run/backup.key")
    on_call("sudo rm /run/backup.key")
    unread = host.start("runuser -u postgres -- casedb restore latest --plan")
    restored = json.loads(on_call(f"{RESTORE} --json"))
    back = cases()
    on_call("sudo casedb undo-restore --confirm case_management")
    undone = cases()
    on_call("sudo casedb undo-restore --confirm case_management")
    for found in json.loads(on_call("sudo casedb drop-kept --json"))["kept"]:
        on_call(f"sudo casedb drop-kept {found['name']} --confirm {found['name']}")

    assert int(before) > 0
    # Without root even postgres has no way into the account's store.
    assert unread.returncode == 10
    assert (lost, back, undone, cases()) == ("0", before, "0", before)
    # The night after: each fails the test if it fails.
    for verb in ("dump", "verify", "rotate"):
        fired(verb)
    backups = casedb(host, "backups")["backups"]
    assert backups[0]["label"] > restored["label"]
    assert backups[0]["verified"]
    assert host.run("find /var/lib/casedb/home /var/log/casedb ! -user casedb") == ""
    assert host.run("find /var/lib/casedb/metrics ! -user casedb") == ""
    assert host.run("find /opt/casedb ! -user root | head -1") == ""


def test_its_account_needs_no_password_and_gets_no_further_than_its_roles(host: "Host") -> None:
    def login(account: str, role: str) -> str:
        return host.run(
            f"cd / && runuser -u {account} -- psql -XAtqwd case_management -U {role}"
            " -c 'SELECT current_user' 2>&1",
            check=False,
        )

    assert login("casedb", "case_migrator") == "case_migrator"
    for role in ("postgres", "case_app", "case_owner"):
        # By peer nobody lets it in, and for a password it has none.
        assert re.search("Peer authentication failed|no password supplied", login("casedb", role))
    # Another account is nobody in pg_ident.conf.
    assert "FATAL" in login("admin", "case_migrator")
    # No password lies on the host for it to use.
    assert host.run("find /var/lib/casedb /etc/casedb /opt/casedb -name '*pgpass*'") == ""
    assert host.run("getent passwd casedb | cut -d: -f7") == "/usr/sbin/nologin"
    assert host.run("stat -c '%a %U' /var/lib/casedb/home") == "700 casedb"
    assert host.run("find /opt/casedb ! -user root | head -1") == ""


def test_a_half_made_toolkit_is_found(host: "Host", rehearsal: "Rehearsal") -> None:
    # The name of what is installed is written last.
    host.run("mv /opt/casedb/current/installed /opt/casedb/current/not-yet")
    try:
        code, found = rehearsal.host("drift", "--limit", host.name)
    finally:
        host.run("mv /opt/casedb/current/not-yet /opt/casedb/current/installed")

    (about,) = found["hosts"]
    differing = [change["what"] for step in about["steps"] for change in step["changes"]]
    assert (code, differing) == (9, ["/opt/casedb"])


def test_tune_knows_a_host_of_an_inventory(host: "Host", rehearsal: "Rehearsal") -> None:
    inventory = rehearsal.inventory(**{host.name: {"workload": "web", "disk": "nvme"}})

    done = rehearsal.casedb("tune", host.name, "--inventory", str(inventory), "--json")

    found = json.loads(done.stdout)
    values = {setting["name"]: setting["value"] for setting in found["settings"]}
    assert values["shared_buffers"] == host.sql("SHOW shared_buffers") == "512MB"
    assert (found["workload"], values["effective_io_concurrency"]) == ("web", "1000")
    assert found["machine"]["pg_major"] == host.major
