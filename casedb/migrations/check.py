"""The check for CI: are the migrations fit to be merged? On throwaway clusters, nothing else."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import CasedbError
from casedb.lint import run_checks
from casedb.migrations.contract import Contract, broken, read_from_folder, read_from_git, try_out
from casedb.migrations.files import MigrationFile, read_folder
from casedb.migrations.lint import lint
from casedb.migrations.runner import session
from casedb.roles import apply_roles
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, run

_DATABASE = "migrate_check"


@dataclass(frozen=True)
class CheckFinding:
    """One reason not to merge."""

    check: str
    """lint, reversible, schema or contract."""
    where: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What was checked, and what was found."""

    migrations: int
    head: str | None
    contract: str | None
    """Where the previous head's contract came from."""
    findings: tuple[CheckFinding, ...]
    notes: tuple[str, ...]
    """What could not be checked, and why."""


def check(
    *,
    source: Path,
    tools: PostgresTools,
    on_step: Callable[[str], None],
    recorded: Path | None = None,
) -> CheckReport:
    """Apply, undo and apply again every migration of `source`, and look at what comes of it.

    Exactly one head, lint clean, every schema as it was after the way back, no finding of the
    catalog checks at the head, and the contract of the previous head kept. That one comes from
    git, or from the folder `recorded`.

    Raises:
        ConfigurationError: the folder is not what it should be (a fork has two heads).
        ToolFailedError: a migration failed: file, line and SQLSTATE are named.
    """
    files = read_folder(source)
    findings: list[CheckFinding] = []
    notes: list[str] = []
    on_step("lint")
    try:
        findings += [CheckFinding("lint", w.file, str(w)) for w in lint(files)]
    except CasedbError as error:
        notes.append(f"lint: {error.message}")
    contract = _contract(source, files, recorded)
    if contract is None:
        notes.append("contract: the previous head cannot be found (no history of it in git)")
    elif not contract.queries and not contract.prisma:
        notes.append(f"contract: there were no queries and no Prisma schema at {contract.origin}")
        contract = None
    with throwaway_cluster(tools) as admin:
        target = _prepared(admin)
        findings += _up_down_up(target, files, tools, contract, on_step)
        on_step("catalog checks")
        findings += [
            CheckFinding("schema", found.object, f"{found.message} ({found.rule})")
            for found in run_checks(target)
        ]
    return CheckReport(
        migrations=len(files),
        head=files[-1].id if files else None,
        contract=contract.origin if contract else None,
        findings=tuple(findings),
        notes=tuple(notes),
    )


def schema_of(tools: PostgresTools, target: Conninfo) -> str:
    """Return the definition of everything in the database, without what differs at every call."""
    argv = [tools["pg_dump"], "--schema-only", "--no-password"]
    return re.sub(r"^\\(un)?restrict .*$", "", run(argv, target=target), flags=re.MULTILINE)


def _prepared(admin: Conninfo) -> Conninfo:
    with connect(admin, purpose="migrate check") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
    target = admin.replace(dbname=_DATABASE)
    apply_roles(target)
    return target


def _contract(
    source: Path, files: Sequence[MigrationFile], recorded: Path | None
) -> Contract | None:
    ids = [file.id for file in files]
    if recorded:
        return read_from_folder(recorded, ids[-2]) if len(ids) > 1 else None
    return read_from_git(source.parent, ids)


def _up_down_up(
    target: Conninfo,
    files: Sequence[MigrationFile],
    tools: PostgresTools,
    contract: Contract | None,
    on_step: Callable[[str], None],
) -> list[CheckFinding]:
    findings = []
    outcome = None
    with (
        session(target.replace(user="case_migrator"), "migrate check") as backend,
        connect(target, purpose="migrate check") as admin,
    ):
        for file in files:
            on_step(f"{file.id}: up, down, up")
            before = schema_of(tools, target)
            backend.run(file, "apply", agreed=True)
            if file.rollback is None:
                message = f"{file.rollback_path.name} is missing or has no statement"
                findings.append(CheckFinding("reversible", file.id, message))
            else:
                applied = schema_of(tools, target)
                backend.run(file, "rollback", agreed=True)
                back = schema_of(tools, target)
                findings += _compared(file, "its rollback leaves another schema", before, back)
                backend.run(file, "apply", agreed=True)
                again = schema_of(tools, target)
                findings += _compared(file, "applied again it makes another", applied, again)
            if contract and file.id == contract.head:
                outcome = try_out(admin, contract)
        if contract and outcome is not None:
            on_step("contract of the previous head")
            findings += [
                CheckFinding("contract", what, f"worked at {contract.origin}, no longer: {said}")
                for what, said in broken(outcome, try_out(admin, contract))
            ]
    return findings


def _compared(file: MigrationFile, what: str, wanted: str, found: str) -> list[CheckFinding]:
    if wanted == found:
        return []
    lines = set(wanted.splitlines()) ^ set(found.splitlines())
    shown = "; ".join(sorted(line.strip() for line in lines if line.strip())[:4])
    return [CheckFinding("reversible", file.id, f"{what}: {shown or 'another order'}")]
