"""Whatever goes wrong is one clear error, the documented exit code, no traceback, no secret."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casedb.database import connect

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb, Result


def one_error(result: "Result", code: int) -> str:
    """Return the error's text, having seen that there is one, with its advice and its code."""
    assert result.code == code, result.out + result.err
    assert result.err.count("ERROR:") == 1
    assert "HINT:" in result.err
    return result.err


@pytest.mark.parametrize(
    "words",
    [("dump",), ("migrate", "apply"), ("migrate", "status"), ("seed",), ("shell",), ("mark",)],
    ids=" ".join,
)
def test_without_a_server_the_code_is_4_and_the_hint_says_how_to_start_it(
    casedb: "Casedb", words: tuple[str, ...]
) -> None:
    assert "casedb up" in one_error(casedb(*words), 4)


def test_status_without_a_server_still_shows_the_backups(casedb: "Casedb") -> None:
    result = casedb("status", "--json")

    assert result.code == 4
    checks = {finding["check"]: finding for finding in result.json["findings"]}
    assert checks["server"]["well"] is False
    assert "casedb dump" in checks["backup"]["advice"]


@pytest.mark.parametrize("words", [("dump",), ("status",), ("migrate", "apply"), ("seed",)])
def test_a_wrong_password_is_said_and_not_shown(
    brought_up: "Casedb", words: tuple[str, ...]
) -> None:
    port = str(brought_up.server.status().port)
    result = brought_up(*words, PGHOST="127.0.0.1", PGPORT=port, PGPASSWORD="not-the-right-one")

    assert result.code == 4
    assert "not-the-right-one" not in result.out + result.err
    assert "passfile" in result.err + result.out


@pytest.mark.parametrize(
    ("words", "environment", "origin"),
    [
        (("dump",), {"PGPORT": "abc"}, "PGPORT"),
        (("migrate", "status", "--conninfo", "host=db1 port=abc"), {}, "--conninfo"),
        (("status",), {"CASEDB_CONNINFO": "host=db1 port=abc"}, "CASEDB_CONNINFO"),
        (("shell",), {"DATABASE_URL": "postgresql://app:hush-hush@db1:abc/x"}, "DATABASE_URL"),
        (("dump",), {"PGHOST": "/nowhere", "PGCONNECT_TIMEOUT": "abc"}, "PGCONNECT_TIMEOUT"),
        (("dump",), {"PGHOST": "/nowhere", "PGSSLMODE": "abc"}, "PGSSLMODE"),
        (("undo-restore", "--pooler", "host=/run/pgbouncer port=abc"), {}, "--pooler"),
        (("undo-restore",), {"CASEDB_POOLER": "host=/run/pgbouncer port=abc"}, "pooler"),
    ],
    ids=str,
)
def test_a_word_that_no_server_can_have_is_code_3_and_says_where_it_stands(
    brought_up: "Casedb", words: tuple[str, ...], environment: dict[str, str], origin: str
) -> None:
    said = one_error(brought_up(*words, **environment), 3)

    assert "has to be" in said
    assert said.count(origin) == 2
    assert "hush-hush" not in said


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ("[cases]\nhost=127.0.0.1\nport=abc\n", '"abc"'),
        ("[cases]\nhost=127.0.0.1\nsslmode=abc\n", '"abc"'),
        ("[other]\n", '"cases" not found'),
    ],
)
def test_what_only_libpq_can_judge_is_code_3_too(
    casedb: "Casedb", tmp_path: Path, service: str, fault: str
) -> None:
    (tmp_path / "services").write_text(service)

    result = casedb("dump", PGSERVICE="cases", PGSERVICEFILE=str(tmp_path / "services"))

    said = one_error(result, 3)
    assert fault in said
    assert "pg_service.conf" in said


def test_hosts_and_ports_that_do_not_match_are_code_3(casedb: "Casedb") -> None:
    said = one_error(casedb("dump", "--conninfo", "host=a,b port=1,2,3"), 3)

    assert "3 port numbers to 2 hosts" in said


def test_a_password_on_the_command_line_is_refused(casedb: "Casedb") -> None:
    result = casedb("dump", "--conninfo", "host=db1 password=hush-hush")

    assert "hush-hush" not in one_error(result, 2)


def test_the_applications_database_url_is_not_taken_for_a_dump(casedb: "Casedb") -> None:
    url = "postgresql://app:hush-hush@127.0.0.1:1/cases?schema=public"

    refused = casedb("dump", DATABASE_URL=url)
    insisted = casedb("dump", DATABASE_URL=url, CASEDB_USE_DATABASE_URL="true")

    assert "DATABASE_URL" in one_error(refused, 3)
    assert "127.0.0.1:1" in one_error(insisted, 4)
    assert "hush-hush" not in refused.err + insisted.err


def test_a_database_url_of_the_embedded_server_is_no_stranger(brought_up: "Casedb") -> None:
    port = brought_up.server.status().port
    url = f"postgresql://case_app:x@localhost:{port}/case_management?schema=public"

    assert brought_up("migrate", "status", DATABASE_URL=url).code == 0


def test_an_unknown_setting_is_refused_with_the_nearest_name(casedb: "Casedb") -> None:
    (casedb.folder / "casedb.toml").write_text('stor = "/tmp"\n')

    assert '"stor"' in one_error(casedb("config", "show"), 3)


def test_an_unknown_command_or_option_is_a_usage_error(casedb: "Casedb") -> None:
    assert casedb("dmup").code == 2
    assert casedb("dump", "--no-such-option").code == 2


def test_a_known_hole_of_pg_dump_is_told_before_the_dump_begins(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    programs, tools = tmp_path / "bin", brought_up.tools
    programs.mkdir()
    (programs / "psql").write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {tools.major}.1'\n")
    (programs / "psql").chmod(0o755)

    # There is no pg_dump: nothing comes of it.
    failed = brought_up("dump", "--store", str(tmp_path / "store"), PG_BIN=str(programs))

    assert failed.code != 0
    assert "CVE-2026-18408" in failed.err
    assert failed.err.index("warning: ") < failed.err.index("ERROR:")


def test_programs_of_another_major_version_are_refused(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    other = tmp_path / "bin"
    other.mkdir()
    (other / "psql").write_text("#!/bin/sh\necho 'psql (PostgreSQL) 14.9'\n")
    (other / "psql").chmod(0o755)

    assert "14.9" in one_error(brought_up("dump", PG_BIN=str(other)), 3)


def test_the_error_is_json_too_when_asked_for(casedb: "Casedb") -> None:
    result = casedb("dump", "--json")

    assert result.json["error"]["exit_code"] == 4
    one_error(result, 4)


@pytest.mark.parametrize(
    "words", [("dump", "--no-such-option"), ("drill", "x", "--newest-undrilled")], ids=" ".join
)
def test_a_usage_error_is_json_too_when_asked_for(casedb: "Casedb", words: tuple[str, ...]) -> None:
    result = casedb(*words, "--json")

    assert result.code == result.json["error"]["exit_code"] == 2
    assert result.json["error"]["message"] in result.err


def test_a_traceback_is_shown_with_debug_only(casedb: "Casedb") -> None:
    assert "Traceback" in casedb("--debug", "dump").err


def test_a_closed_pipe_is_no_fault_and_no_success(brought_up: "Casedb") -> None:
    process = brought_up.start("config", "show")
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.wait(timeout=300) == 141
    process.stderr.close()


def test_a_restore_that_nobody_reads_has_changed_nothing_and_is_no_success(
    brought_up: "Casedb",
) -> None:
    """As in `casedb restore latest --confirm NAME | head -1`."""
    store, log = brought_up.folder / "unread", brought_up.folder / "unread.log"
    assert brought_up("dump", "--store", str(store)).code == 0
    words = ["restore", "latest", "--store", str(store), "--confirm", "case_management"]
    process = brought_up.start(*words, CASEDB_LOG_FILE=str(log))
    for stream in (process.stdout, process.stderr):
        assert stream
        stream.close()

    assert process.wait(timeout=300) == 141
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["command"], line["outcome"], line["exit_code"]) == ("restore", "failure", 141)


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("importlib.import_module", 143, "terminated; nothing had been begun"),
        ("output.print_error", 4, ""),
    ],
    ids=["while the verb is loaded", "while its error is shown"],
)
def test_a_signal_at_either_end_of_a_verb_has_one_outcome(
    casedb: "Casedb", place: str, code: int, said: str
) -> None:
    """An exception would come out in the middle of an import, or of the error."""
    program = f"""
import importlib, os, signal, sys
from casedb.cli import output
main = importlib.import_module("casedb.cli.main").main

{place} = lambda *_words, **_more: os.kill(os.getpid(), signal.SIGTERM)
main(["dump"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=casedb.folder,
        env=casedb.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr.strip()) == (code, said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_dump_leaves_nothing_that_looks_whole(
    brought_up: "Casedb", number: signal.Signals
) -> None:
    admin = brought_up.server.conninfo(dbname="case_management", user="postgres")
    store = brought_up.folder / f"store-{number.name}"
    with connect(admin, purpose="test", autocommit=False) as blocker:
        # pg_dump has to wait for this lock, so the dump is caught in the middle.
        blocker.execute("LOCK TABLE cases IN ACCESS EXCLUSIVE MODE")
        running = brought_up.start("dump", "--store", str(store))
        deadline = time.monotonic() + 120
        while not list(store.rglob(".partial-*")):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(running.pid, number)
        _, err = running.communicate(timeout=300)

    assert running.returncode == {2: 130, 15: 143, 9: -9}[number]
    assert "Traceback" not in err
    assert brought_up("backups", "--store", str(store), "--json").json["backups"] == []
    if number is not signal.SIGKILL:
        assert list(store.rglob(".partial-*")) == []
    assert brought_up("dump", "--store", str(store)).code == 0
    assert list(store.rglob(".partial-*")) == []
    assert len(brought_up("backups", "--store", str(store), "--json").json["backups"]) == 1


def test_a_flipped_byte_is_found_again_and_again_and_the_file_named(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert brought_up("dump", "--store", str(store)).code == 0
    (file,) = store.rglob("database.dump.zst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    for _ in range(2):
        text = one_error(brought_up("verify", "latest", "--store", str(store)), 6)
        assert "database.dump.zst" in text
    assert brought_up("drill", "latest", "--store", str(store)).code != 0
    assert "DAMAGED" in brought_up("backups", "--store", str(store)).out


def test_a_restore_never_touches_an_existing_database(brought_up: "Casedb") -> None:
    text = one_error(brought_up("restore", "latest", "--into", "case_management"), 7)

    assert "case_management" in text


def test_a_restore_makes_a_new_database_with_the_targets_mark(brought_up: "Casedb") -> None:
    result = brought_up("restore", "latest", "--into", "second", "--json")
    assert result.code == 0, result.err

    mark = brought_up("mark", "--database", "second", "--json").json
    count = brought_up(
        "shell", "--psql", "--database", "second", "--", "-Atc", "SELECT count(*) FROM users"
    )
    admin = brought_up.server.conninfo(dbname="postgres", user="postgres")
    with connect(admin, purpose="test") as connection:
        connection.execute("DROP DATABASE second")

    assert mark == {"database": "second", "mark": "development", "marked": True}
    assert count.out.strip() == "3"


def test_pgcli_opens_on_the_right_database(brought_up: "Casedb") -> None:
    version = brought_up("shell", "--", "--version")
    assert "Version:" in version.out

    answer = brought_up("shell", "--", "--list")
    assert "case_management" in answer.out


def test_a_home_that_cannot_be_written_is_explained(casedb: "Casedb") -> None:
    (casedb.folder / "in-the-way").write_text("a file")

    text = one_error(casedb("up", "--data-dir", "in-the-way/home"), 3)

    assert "in-the-way" in text


def test_a_full_disk_is_one_clear_error_and_leaves_no_backup(
    brought_up: "Casedb", tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mounted = os.system(f"mount -t tmpfs -o size=64k none {small} 2>/dev/null") == 0
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        result = brought_up("dump", "--store", str(small))

        assert result.code in (3, 5, 7)
        one_error(result, result.code)
        assert brought_up("backups", "--store", str(small), "--json").json["backups"] == []
    finally:
        os.system(f"umount {small}")


def test_a_standby_is_not_dumped_and_what_it_refuses_names_the_primary(casedb: "Casedb") -> None:
    assert casedb("up").code == 0
    labels = [backup["label"] for backup in casedb("backups", "--json").json["backups"]]
    assert casedb("down").code == 0
    (casedb.server.data_dir / "standby.signal").touch(mode=0o644)
    casedb.server.start(casedb.tools, on_step=lambda _: None)

    assert "this server is a standby" in one_error(casedb("dump"), 7)
    assert [backup["label"] for backup in casedb("backups", "--json").json["backups"]] == labels
    assert "is it the primary that is named" in one_error(casedb("seed"), 5)
