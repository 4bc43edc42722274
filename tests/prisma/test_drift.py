"""schema.prisma and the migrations say the same, and the check that says so can say otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError, UnverifiedError
from casedb.prisma import check_drift
from tests.prisma.conftest import Contract

SAME, CANNOT_TELL, DIFFERENT = 0, 1, 2


def change(database: Conninfo, statement: str) -> None:
    with connect(database, purpose="test") as connection:
        connection.execute(statement.encode())


def drift(contract: Contract, database: Conninfo, user: str = "case_backup") -> tuple[int, str]:
    ended = contract.run("tsx", "drift.ts", target=database.replace(user=user))
    return ended.code, ended.out + ended.err


def test_the_schema_describes_what_the_migrations_made(
    contract: Contract, database: Conninfo
) -> None:
    # The migrations' own records are nobody else's business.
    change(database, "CREATE TABLE ops.more (id integer)")

    assert drift(contract, database) == (SAME, "No difference detected.\n")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP INDEX public.idx_cases_status_created", "[+] Added index"),
        ("ALTER TABLE public.cases ADD COLUMN stray integer", "Removed column `stray`"),
    ],
)
def test_one_change_to_the_database_is_a_difference(
    contract: Contract, database: Conninfo, statement: str, told: str
) -> None:
    change(database, statement)

    code, printed = drift(contract, database)

    assert (code, told in printed) == (DIFFERENT, True), printed


# One run for all of them: each takes the engine seconds.
CHANGES = {
    "CREATE INDEX stray ON public.case_logs (action)": "[-] Removed index on columns (action)",
    "DROP INDEX public.idx_pending_assignments": "[+] Added index on columns (status)",
    "ALTER TABLE public.cases ALTER COLUMN description DROP NOT NULL": "column `description`",
    "ALTER TABLE public.case_documents DROP COLUMN filename": "[+] Added column `filename`",
    "ALTER TABLE public.users ALTER COLUMN first_name SET DEFAULT 'a'": "column `first_name`",
    "ALTER TABLE public.users ALTER COLUMN created_at TYPE timestamptz(6)": "column `created_at`",
    "ALTER TABLE public.case_documents DROP CONSTRAINT case_documents_s3_key_key": "(s3_key)",
    "ALTER TABLE public.cases DROP CONSTRAINT cases_created_by_fkey": "Added foreign key",
    "CREATE TABLE public.stray_table (id integer PRIMARY KEY)": "Removed tables\n  - stray_table",
    # What the engine does not see: an enum is a domain and a check here.
    "ALTER TABLE public.users DROP CONSTRAINT users_role_known": (
        "users.role may be anything; UserRole has CASEWORKER, CHAIR, CLERK"
    ),
    "ALTER TABLE public.cases DROP CONSTRAINT cases_priority_known,"
    " ADD CONSTRAINT cases_priority_known CHECK (priority IN ('LOW', 'MEDIUM', 'HIGH'))": (
        "cases.priority may be HIGH, LOW, MEDIUM; Priority has HIGH, LOW, MEDIUM, URGENT"
    ),
    "ALTER DOMAIN public.case_priority RENAME TO urgency": (
        "cases.priority is of type urgency, Priority is the domain case_priority"
    ),
}


def test_every_kind_of_change_is_told(contract: Contract, database: Conninfo) -> None:
    for statement in CHANGES:
        change(database, statement)

    code, printed = drift(contract, database)

    assert code == DIFFERENT
    assert [told for told in CHANGES.values() if told not in printed] == [], printed


def test_a_role_that_sees_too_little_cannot_tell(contract: Contract, database: Conninfo) -> None:
    # It reads everything but this one column, which would look as if it had been dropped.
    code, printed = drift(contract, database, "case_readonly")

    assert code == CANNOT_TELL
    assert "users.password" in printed
    assert "case_backup" in printed


def test_a_back_end_whose_copy_is_behind_gets_to_know(
    contract: Contract, database: Conninfo, tmp_path: Path
) -> None:
    text = (contract.place / "schema.prisma").read_text()
    mine = tmp_path / "mine.prisma"
    mine.write_text(text.replace("  MEDIUM\n", "").replace("@default(MEDIUM)", "@default(LOW)"))
    backup = database.replace(user="case_backup")

    found = check_drift(backup, contract.place, contract.node, schema=mine)

    assert found.found
    text = "\n".join(found.differences)
    assert "cases.priority may be HIGH, LOW, MEDIUM, URGENT; Priority has HIGH, LOW, URGENT" in text
    assert "`priority`" in text


def test_a_schema_that_cannot_be_read_is_not_called_drift(
    contract: Contract, database: Conninfo, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.prisma"
    broken.write_text("model X {")
    backup = database.replace(user="case_backup")

    with pytest.raises(UnverifiedError):
        check_drift(backup, contract.place, contract.node, schema=broken)
    with pytest.raises(ConfigurationError):
        check_drift(backup, contract.place, contract.node, schema=tmp_path / "none.prisma")


def casedb_check(database: Conninfo, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "casedb.toml").touch()
    server = f"host={database.get('host')} port={database.get('port')}"
    words = ["prisma", "check", "--conninfo", server, "--database", database.dbname]
    return subprocess.run(
        [sys.executable, "-m", "casedb", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_says_so_with_its_exit_code(
    contract: Contract, database: Conninfo, tmp_path: Path
) -> None:
    same = casedb_check(database, tmp_path)
    change(database, "DROP INDEX public.idx_active_cases")
    different = casedb_check(database, tmp_path)

    assert (same.returncode, different.returncode) == (0, 9), same.stderr + different.stderr
    assert "is what schema.prisma says" in same.stdout
    assert "Added index on columns (status)" in different.stdout
