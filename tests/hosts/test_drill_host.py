"""Encrypted backups: one host writes what only another can read, from a real bucket."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backups.sealing import new_key
from casedb import rehearse
from tests.hosts.conftest import Host
from tests.s3.servers import Server, ceph, why_no_ceph

if TYPE_CHECKING:
    from tests.hosts.conftest import Rehearsal

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(bool(why_no_ceph()), reason="needs Ceph")]

RELEASE = "bookworm"
MUST_NOT = "the key of encrypted backups must not lie on the database's own host"


@pytest.fixture
def bucket() -> Iterator[Server]:
    with ceph() as server:
        yield server


@pytest.fixture
def drill_host(rehearsal: "Rehearsal") -> Iterator[Host]:
    """A bare host beside the two."""
    home = rehearsal.folder / ".casedb" / "drill-host"
    (about,) = rehearse.up(home, (RELEASE,), cache=Path("~/.cache/casedb/rehearsal").expanduser())
    try:
        yield Host(about)
    finally:
        rehearse.down(home)


def address_of(server: Server) -> str:
    """Return where the other containers reach it."""
    assert server.container
    words = ["docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", server.container]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def reach(host: Host) -> dict[str, Any]:
    about = host.about
    return {
        "ssh_hostname": about.address, "ssh_port": about.port, "ssh_user": about.user,
        "ssh_key": about.key, "ssh_known_hosts_file": about.known_hosts, "_sudo": True,
        "databases": {"case_management": "development"},
    }  # fmt: skip


def secret(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return f"file:{path}"


def test_a_drill_host_has_the_bucket_and_the_key_and_the_database_host_only_writes(
    rehearsal: "Rehearsal", proof: dict[str, Any], bucket: Server, drill_host: Host, tmp_path: Path
) -> None:
    database_host = rehearsal.hosts[RELEASE]
    key = tmp_path / "backup.key"
    public = new_key(key)
    address = address_of(bucket)
    name = bucket.new_bucket(versions=True)
    credentials = secret(
        tmp_path / "aws",
        "[default]\naws_access_key_id = access-pruner\naws_secret_access_key = secret-pruner\n",
    )
    settings = {
        "store": [f"s3://{name}/backups?endpoint=http://{address}:8000&region=us-east-1"],
        "recipients": [public],
    }
    both = {"toolkit_settings": settings, "store_credentials": credentials}
    inventory = rehearsal.folder / "two.py"

    def write(**of_database: Any) -> None:
        serving = ("db1", {**reach(database_host), **both, **of_database})
        drilling = ("drill1", {**reach(drill_host), **both, "backup_key": f"file:{key}"})
        inventory.write_text(f"serving = {[serving]!r}\ndrill = {[drilling]!r}\n")

    def timers(host: Host) -> set[str]:
        shown = host.run(
            "systemctl list-timers --all --no-legend 'casedb-*' | grep -o 'casedb-[a-z]*@'"
        )
        return set(shown.split())

    write(backup_key=f"file:{key}")
    refused, answer = rehearsal.host("plan", "--limit", "db1", inventory=inventory)
    write()
    try:
        code, found = rehearsal.host("apply", "--yes", inventory=inventory)
        drifted, _found = rehearsal.host("drift", inventory=inventory)
        assert (code, drifted) == (0, 0), found
        shown = {host: timers(host) for host in (database_host, drill_host)}
        database_host.run("systemctl start casedb-dump@case_management.service")
        drill_host.run("systemctl start casedb-drill@case_management.service")
        drill_host.run("systemctl start casedb-rotate@case_management.service")
        unread = database_host.start("casedb drill latest")
        backups = json.loads(drill_host.run("casedb backups --json"))["backups"]
        checked, controls = rehearsal.host("check", inventory=inventory)
        status, standing = rehearsal.host("status", inventory=inventory)
        clusters = drill_host.run("pg_lsclusters --no-header")
        where = [host.run("ls /etc/casedb") for host in (database_host, drill_host)]
        mode = drill_host.run("stat -c '%U %a' /etc/casedb/backup.key")
    finally:
        rehearsal.host("apply", "--yes", "--limit", database_host.name)
        database_host.run("rm -rf /var/lib/casedb/home/.aws")

    assert refused == 5
    assert MUST_NOT in answer["hosts"][0]["error"]
    assert shown == {
        database_host: {"casedb-dump@", "casedb-verify@"},
        drill_host: {"casedb-verify@", "casedb-drill@", "casedb-rotate@"},
    }
    (made,) = backups
    assert made["drilled"]["outcome"] == "passed"
    # It can read the bucket here, and cannot open what is in it.
    assert unread.returncode == 10
    assert clusters == ""
    assert ["backup.key" in names for names in where] == [False, True]
    assert mode == "casedb 400"
    assert checked == 0, controls
    by_name = {about["host"]["host"]: about["host"] for about in standing["hosts"]}
    assert (status, by_name["db1"]["problems"], by_name["drill1"]["problems"]) == (0, [], [])
    assert by_name["drill1"]["connections_most"] is None
    assert by_name["db1"]["newest_drilled_at"] == by_name["drill1"]["newest_drilled_at"]
