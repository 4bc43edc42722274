"""What is wrong with one host is said of that host; the other one goes on; the exit code tells."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts


def outcome(
    rehearsal: "Rehearsal", verb: str, spoiled: dict[str, Any], *words: str
) -> tuple[int, str, Any]:
    """Run `verb` with bookworm's data spoiled; return the code, bookworm's error, and trixie."""
    inventory = rehearsal.inventory(bookworm=spoiled)
    code, found = rehearsal.host(verb, *words, inventory=inventory)
    hosts = {h["host"]: h for h in found["hosts"]}
    assert set(hosts) == {"bookworm", "trixie"}
    return code, hosts["bookworm"]["error"] or "", hosts["trixie"]


@pytest.fixture
def bookworm(rehearsal: "Rehearsal", proof: dict[str, Any]) -> "Host":
    return rehearsal.hosts["bookworm"]


@contextmanager
def somebody_with_a_password(host: "Host") -> Iterator[str]:
    """Make an account for which sudo wants a password; yield the password."""
    password = 'it\'s a "secret" $HOME'
    host.run(
        "useradd --create-home --shell /bin/bash needy && cp -r /home/admin/.ssh /home/needy/"
        " && chown -R needy: /home/needy/.ssh && echo 'needy ALL=(ALL) ALL' >/etc/sudoers.d/needy"
        " && chmod 440 /etc/sudoers.d/needy && chpasswd",
        f"needy:{password}",
    )
    try:
        yield password
    finally:
        host.run("rm -f /etc/sudoers.d/needy; userdel --remove needy 2>/dev/null")


def test_sudos_password_comes_by_reference_is_in_no_process_list_and_leaves_nothing(
    rehearsal: "Rehearsal", bookworm: "Host"
) -> None:
    with somebody_with_a_password(bookworm) as password:
        named = rehearsal.folder / "sudo-password"
        named.touch(mode=0o600)
        named.write_text(password + "\n")
        # Every argument list and environment on the host, for as long as the run takes.
        bookworm.run(
            "rm -f /tmp/stop-looking /tmp/seen; ( while [ ! -e /tmp/stop-looking ]; do"
            " cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
            " | grep -aF 'a \"secret\"' >>/tmp/seen; done ) >/dev/null 2>&1 </dev/null &"
        )
        known = {"ssh_user": "needy", "sudo_password": f"file:{named}"}
        code, error, other = outcome(rehearsal, "drift", known)
        bookworm.run("touch /tmp/stop-looking; sleep 0.3")

        # grep's own words are in its argument list; nothing else may have them.
        seen = bookworm.run("grep -v '^a \"secret\"$' /tmp/seen || true")
        left = bookworm.run("find / -xdev -name 'casedb-askpass-*' -o -name 'pyinfra-sudo*'")

    assert error == ""
    assert code in (0, 9)
    assert other["error"] is None
    assert seen == ""
    assert left == ""


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"sudo_password": "command:echo wrong"}, "sudo refuses the password"),
        ({}, "sudo asks for a password; the inventory names none"),
        ({"_sudo_password": "wrong"}, "would show in the host's list of processes"),
    ],
)
def test_a_wrong_or_missing_sudo_password(
    rehearsal: "Rehearsal", bookworm: "Host", known: dict[str, Any], said: str
) -> None:
    with somebody_with_a_password(bookworm):
        code, error, other = outcome(rehearsal, "apply", {"ssh_user": "needy", **known}, "--yes")

    assert said in error
    assert (code, other["error"]) == (5, None)


def test_a_full_disk(rehearsal: "Rehearsal", bookworm: "Host") -> None:
    place = "/var/lib/postgresql/15/second"
    bookworm.run(f"mkdir -p {place} && mount -t tmpfs -o size=4m tmpfs {place}")
    try:
        spoiled = {"pg_cluster": "second", "pg_port": 5499}
        code, error, other = outcome(rehearsal, "apply", spoiled, "--yes")
    finally:
        bookworm.run(
            f"umount {place}; pg_dropcluster 15 second 2>/dev/null; rm -rf {place}"
            " /etc/postgresql/15/second; systemctl daemon-reload"
        )

    assert "Make cluster 15/second" in error
    assert "No space left on device" in error
    assert (code, other["error"]) == (5, None)


def test_a_disk_that_is_full_when_a_configuration_is_tried(bookworm: "Host") -> None:
    folder = "/var/lib/casedb/configure"
    before = bookworm.files()
    bookworm.run(f"mount -t tmpfs -o size=4k tmpfs {folder}")
    try:
        found = bookworm.configure(
            {
                path: {**file, "content": file["content"] + "work_mem = '5MB'\n"}
                if path.endswith("postgresql.conf")
                else file
                for path, file in before.items()
            }
        )
    finally:
        bookworm.run(f"umount {folder}")

    assert found["result"] == "refused"
    assert "No space left on device" in found["problem"]
    assert bookworm.files() == before


def test_a_locked_apt(rehearsal: "Rehearsal", bookworm: "Host") -> None:
    holding = (
        "import fcntl,time;f=open('/var/lib/dpkg/lock-frontend','w');fcntl.lockf(f,fcntl.LOCK_EX);"
        "print('held',flush=True);time.sleep(60)"
    )
    bookworm.run(f'python3 -c "{holding}" >/tmp/holding 2>&1 </dev/null & echo $! >/tmp/pid')
    try:
        bookworm.run("for i in $(seq 50); do grep -q held /tmp/holding && break; sleep 0.1; done")
        spoiled = {"extra_packages": ["hello"], "apt_wait_s": 1}
        code, error, other = outcome(rehearsal, "apply", spoiled, "--yes")
    finally:
        bookworm.run("kill $(cat /tmp/pid); rm -f /tmp/pid /tmp/holding", check=False)

    assert "Install PostgreSQL 15" in error
    assert "Unable to acquire the dpkg frontend lock" in error
    assert (code, other["error"]) == (5, None)


def test_an_unsupported_release(rehearsal: "Rehearsal", bookworm: "Host") -> None:
    bookworm.run('cp /etc/os-release /tmp/os-release && sed -i \'s/="12"/="11"/\' /etc/os-release')
    try:
        code, error, other = outcome(rehearsal, "apply", {}, "--yes")
    finally:
        # It is a link to /usr/lib, which sed has replaced.
        bookworm.run("ln -sf ../usr/lib/os-release /etc/os-release")

    assert error == "debian 11 is not supported; Debian 12 and 13 are"
    assert (code, other["error"]) == (5, None)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ({"pg_version": 16}, "Debian 12 has PostgreSQL 15; 16 needs pgdg in the inventory"),
        ({"pg_version": 14, "pgdg": {}}, "PostgreSQL 14 is not supported; 15 to 18 are"),
        ({"pgdg": {"uri": "x"}}, "pgdg knows url and key"),
        ({"workload": "olap"}, "olap"),
        ({"firewall": True, "client_networks": ["10.0.0.0/99"]}, "10.0.0.0/99"),
        ({"passwords": {"case_app": "file:/nowhere"}}, "/nowhere"),
        ({"ssh_port": 1}, "unreachable"),
    ],
)
def test_data_that_make_no_sense(
    rehearsal: "Rehearsal", bookworm: "Host", spoiled: dict[str, Any], said: str
) -> None:
    code, error, other = outcome(rehearsal, "plan", spoiled)

    assert said in error
    assert "unexpected" not in error
    assert other["error"] is None
    assert code == (4 if "ssh_port" in spoiled else 5)


def test_a_port_in_use(rehearsal: "Rehearsal", bookworm: "Host") -> None:
    by_ssh = outcome(rehearsal, "apply", {"pg_cluster": "second", "pg_port": 22}, "--yes")
    by_us = outcome(rehearsal, "apply", {"pg_cluster": "second", "pg_port": 5432}, "--yes")

    assert "port 22 is in use by another program" in by_ssh[1]
    assert "port 5432 belongs to cluster 15/main already" in by_us[1]
    assert (by_ssh[0], by_us[0]) == (5, 5)
    assert (by_ssh[2]["error"], by_us[2]["error"]) == (None, None)
    assert "second" not in bookworm.run("pg_lsclusters --no-header")


def test_a_cluster_of_others_is_left_alone_until_it_is_to_be_taken_over(
    rehearsal: "Rehearsal", bookworm: "Host"
) -> None:
    conf = "/etc/postgresql/15/foreign/postgresql.conf"
    psql = "cd / && runuser -u postgres -- psql -XAtq -p 5498"
    bookworm.run("pg_createcluster --port 5498 --start 15 foreign >/dev/null 2>&1")
    try:
        bookworm.run(f"{psql} -c 'CREATE TABLE precious AS SELECT 42 AS answer'")
        before = bookworm.run(f"sha256sum {conf}")
        spoiled = {"pg_cluster": "foreign", "pg_port": 5498}
        code, error, other = outcome(rehearsal, "apply", spoiled, "--yes")
        untouched = bookworm.run(f"sha256sum {conf}") == before
        adopted, problem, _other = outcome(
            rehearsal, "apply", {**spoiled, "adopt": True, "toolkit": False}, "--yes"
        )
        answer = bookworm.run(f"{psql} -c 'SELECT answer FROM precious'")
        tls = bookworm.run(f"{psql} -c 'SHOW ssl'")
    finally:
        bookworm.run("pg_dropcluster --stop 15 foreign; systemctl daemon-reload")
        # Without the toolkit its timers went: the next test finds them again.
        assert rehearsal.host("apply", "--yes", "--limit", bookworm.name)[0] == 0

    assert "was not made by casedb; it was left alone" in error
    assert (code, other["error"]) == (5, None)
    assert untouched
    assert (adopted, problem) == (0, "")
    assert (answer, tls) == ("42", "on")
