"""The contract with the back end: what worked on the previous head still works on the new one.

While a release rolls out, the old back end runs on the new schema. So the named queries and the
Prisma schema of the previous head are tried on both heads of an empty database; whatever worked
before and no longer does is a finding. `casedb migrate check` calls this.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from casedb.database import scalar

_QUERIES = "sql/queries"
_PRISMA = "sql/prisma/schema.prisma"
_ROLES = "SELECT rolname FROM pg_roles WHERE rolname ~ '^case_' ORDER BY 1"
_MODEL = re.compile(r"^model\s+(\w+)\s*\{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(\w+)\s+(\w+)(\[\])?(\?)?(.*)$", re.MULTILINE)
_MAP = re.compile(r'(?<!@)@map\("([^"]+)"\)')
_MODEL_MAP = re.compile(r'@@map\("([^"]+)"\)')


@dataclass(frozen=True)
class Contract:
    """What the back end of the previous head asks of the database."""

    origin: str
    """Where it was found, for people: a commit, or a folder."""
    head: str
    """The last migration at that time."""
    queries: Mapping[str, str]
    """Text of the named queries, by name; parameters are $1, $2."""
    prisma: str | None
    """The Prisma schema, if there was one."""


@dataclass(frozen=True)
class Model:
    """One model of a Prisma schema, as far as the database knows it."""

    name: str
    table: str
    columns: tuple[str, ...]


Outcome = Mapping[str, str]
"""What was tried: "" where it worked, else what the server said."""


def read_from_git(root: Path, ids: Sequence[str]) -> Contract | None:
    """Return the contract of the commit before the newest migration appeared.

    None where that cannot be known: no git, no checkout, a shallow clone, no migration before.
    """
    head = ids[-1] if ids else ""
    added = _git(
        root, "log", "-1", "--format=%H", "--diff-filter=A", "--", f"migrations/{head}.sql"
    )
    if added is None:
        return None
    # Not committed yet: the last commit is the previous state.
    ref = f"{added.strip()}^" if added.strip() else "HEAD"
    listed = _git(root, "ls-tree", "-r", "--name-only", ref, "--", "migrations", "sql")
    if listed is None:
        return None
    paths = listed.splitlines()
    known = [id_ for id_ in ids if f"migrations/{id_}.sql" in paths]
    commit = _git(root, "rev-parse", "--short", ref)
    if not known or commit is None:
        return None
    queries = {
        Path(path).stem: text
        for path in paths
        if path.startswith(f"{_QUERIES}/") and path.endswith(".sql")
        if (text := _git(root, "show", f"{ref}:{path}")) is not None
    }
    prisma = _git(root, "show", f"{ref}:{_PRISMA}") if _PRISMA in paths else None
    return Contract(f"commit {commit.strip()}", known[-1], queries, prisma)


def read_from_folder(folder: Path, head: str) -> Contract:
    """Return the contract that was recorded in `folder` (queries/*.sql, prisma/schema.prisma)."""
    prisma = folder / "prisma" / "schema.prisma"
    return Contract(
        str(folder),
        head,
        {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("queries/*.sql"))},
        prisma.read_text("utf-8") if prisma.is_file() else None,
    )


def models(schema: str) -> list[Model]:
    """Return the models of a Prisma schema: their tables and columns, without relations.

    >>> models('model A {\\n  id Int @id\\n  bNo Int? @map("b_no")\\n  b B?\\n}\\nmodel B {\\n}')[0]
    Model(name='A', table='A', columns=('id', 'b_no'))
    """
    text = re.sub(r"//.*$", "", schema, flags=re.MULTILINE)
    found = _MODEL.findall(text)
    names = {name for name, _ in found}
    made = []
    for name, body in found:
        table = _MODEL_MAP.search(body)
        columns = tuple(
            mapped.group(1) if (mapped := _MAP.search(rest)) else field
            for field, type_, _, _, rest in _FIELD.findall(body)
            if type_ not in names
        )
        made.append(Model(name, table.group(1) if table else name, columns))
    return made


def try_out(admin: Connection[Any], contract: Contract) -> Outcome:
    """Return what each query (as each role) and each model does on this database; changes nothing.

    A query is planned and started, not run: names, types and rights are checked, rows are not.
    """
    outcome: dict[str, str] = {}
    admin.execute("SET search_path = public")
    roles = [name for (name,) in admin.execute(_ROLES).fetchall()]
    for name, text in contract.queries.items():
        for role in roles:
            outcome[f"query {name} as {role}"] = _try_query(admin, text, role)
    for model in models(contract.prisma or ""):
        for what, complaint in _try_model(admin, model):
            outcome[f"Prisma {model.name}{what}"] = complaint
    return outcome


def broken(before: Outcome, after: Outcome) -> list[tuple[str, str]]:
    """Return what worked before and no longer does, each with what the server says now: pure."""
    return [
        (what, after[what])
        for what, complaint in before.items()
        if not complaint and after.get(what, "")
    ]


def _try_query(admin: Connection[Any], text: str, role: str) -> str:
    prepare = f"PREPARE casedb_contract AS {text.strip().rstrip(';')}"
    try:
        with admin.transaction(force_rollback=True):
            admin.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            admin.execute(prepare.encode())
            count = scalar(
                admin,
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements"
                " WHERE name = 'casedb_contract'",
            )
            given = f"({', '.join(['NULL'] * count)})" if count else ""
            # EXPLAIN starts the plan, which is when the rights are checked, and runs nothing.
            admin.execute(f"EXPLAIN EXECUTE casedb_contract{given}".encode())
    except psycopg.Error as error:
        return error.diag.message_primary or str(error)
    finally:
        # A prepared statement outlives the rollback of the transaction that made it.
        admin.execute("DEALLOCATE ALL")
    return ""


def _try_model(admin: Connection[Any], model: Model) -> Iterator[tuple[str, str]]:
    rows = admin.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod),"
        " attnotnull AND NOT atthasdef AND attidentity = '' FROM pg_attribute"
        " WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped",
        (model.table,),
    ).fetchall()
    there = {name: type_ for name, type_, _ in rows}
    yield "", "" if rows else f"there is no table {model.table}"
    for column in model.columns:
        yield f".{column}", "" if column in there else f"there is no column {model.table}.{column}"
        if column in there:
            yield f".{column} is {there[column]}", ""
    needed = [name for name, _, required in rows if required and name not in model.columns]
    yield (
        " create",
        f"it does not know the column {', '.join(needed)}, which has to be given" if needed else "",
    )


def _git(root: Path, *words: str) -> str | None:
    """Return what git prints, or None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
