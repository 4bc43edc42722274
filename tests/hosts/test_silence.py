"""What must not get out: verifiers into the server's log, a candidate's WAL into the archive."""

import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

ARCHIVE = "/srv/archive"


def test_no_verifier_is_in_the_log_of_a_server_that_logs_everything(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    everything = {
        "pg_settings": {
            "log_statement": "all",
            "log_min_duration_statement": "0",
            "log_duration": "on",
            "pgaudit.log": "all",
        },
    }
    inventory = rehearsal.inventory(**{host.name: everything})
    log = f"/var/log/postgresql/postgresql-{host.major}-main.log"
    rehearsal.host("apply", "--yes", "--limit", host.name, inventory=inventory)
    marked = host.run(f"wc -l <{log}")
    passwords = {"case_app": "command:echo a-password-of-the-test"}
    inventory = rehearsal.inventory(**{host.name: {**everything, "passwords": passwords}})
    try:
        code, found = rehearsal.host("apply", "--yes", "--limit", host.name, inventory=inventory)
        verifier = host.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'")
    finally:
        # With the passwords it had.
        rehearsal.host("apply", "--yes", "--limit", host.name)
    host.run(f"tail -n +{marked} {log} >/tmp/written")

    def count(text: str) -> int:
        return int(host.run("grep -cF -f - /tmp/written", text, check=False))

    (about,) = found["hosts"]
    assert code == 0
    changes = [change["what"] for step in about["steps"] for change in step["changes"]]
    assert changes == ["role case_app"]
    # It does log all it is sent, and would have logged this.
    assert count("statement: ") > 5
    secrets = ("SCRAM-SHA-256$4096", "a-password-of-the-test", verifier.split("$")[2])
    assert {secret: count(secret) for secret in secrets} == dict.fromkeys(secrets, 0)
    host.run("rm /tmp/written")


def archived(host: "Host") -> list[str]:
    return host.run(f"ls {ARCHIVE}").split()


@pytest.fixture
def archiving(host: "Host") -> Any:
    """Let the live server archive into a real folder; afterwards no more."""
    before = host.files()
    host.run(f"rm -rf {ARCHIVE} && install -d -o postgres -g postgres {ARCHIVE}")
    conf = f"\narchive_mode = on\narchive_command = 'cp %p {ARCHIVE}/%f'\n"
    files = host.files()
    files[f"{host.etc}/postgresql.conf"]["content"] += conf
    assert host.configure(files)["result"] == "applied"
    yield files
    assert host.configure(before)["result"] == "applied"
    host.run(f"rm -rf {ARCHIVE}")


def test_a_candidate_never_archives_what_is_not_the_live_servers(
    host: "Host", archiving: dict[str, dict[str, str]]
) -> None:
    host.sql("CREATE TABLE public.t AS SELECT 1; DROP TABLE public.t; SELECT pg_switch_wal()")
    deadline = time.monotonic() + 120
    while not archived(host):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    before = archived(host)

    for line in ("work_mem = '5MB'", "max_connections = 'many'", "archive_library = ''"):
        files = {path: dict(file) for path, file in archiving.items()}
        files[f"{host.etc}/postgresql.conf"]["content"] += line + "\n"
        host.configure(files, check_only=True)

    assert archived(host) == before
    ours = host.sql("SELECT system_identifier FROM pg_control_system()")
    for name in before:
        # Each segment says in its first page which cluster it is of.
        assert host.run(f"od -An -t u8 -j 24 -N 8 {ARCHIVE}/{name}") == ours
