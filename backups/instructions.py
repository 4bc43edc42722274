"""RESTORE.txt: how to get the data back with PostgreSQL's own programs, if casedb is not there."""

import re
import shlex
from collections.abc import Iterable, Mapping

from psycopg import sql

from backups.manifest import (
    CREATION,
    DUMP,
    GLOBALS,
    PRINTED_MONEY,
    PROPERTIES,
    SEALED_SUFFIX,
    DatabaseProperties,
    FileFacts,
)
from backups.properties import create_statement, property_statements
from backups.restore_refusals import NAME_MAX_BYTES

_TEXT = """\
How to restore this backup without casedb
=========================================

Backup    {label}
Database  {database}, on PostgreSQL {server_version}
Taken     {started_at} UTC

You need PostgreSQL {major}'s programs, {programs}. Set PGHOST, PGPORT and PGUSER so that
psql reaches the server as a superuser, go into this folder, and run the indented commands.
Nothing that is there is overwritten: everything goes into a new database, {restored}.
{key}
1. Are the files whole? Every line must end in OK.

{sums}

2. The roles that are missing, all of them or none: stop if it fails. Each that is there already
   is listed and left as it is, with the password that it has here, and gets no membership: what
   is said to be left out is for you to decide. New ones {passwords}.

{roles}

3. A new database, and everything into it. Stop if anything fails.

{load}

4. Who owns the database and who may enter it. No dump contains that.

{properties}

5. Look at it, and only then let the application in, by this database's name or by renaming it.

{look}
"""
_KEY = """
The files that end in .age are encrypted. Set KEY to the file of the secret key, mode 0600.
"""


def instructions(
    *,
    label: str,
    database: str,
    server_version: str,
    started_at: str,
    files: Mapping[str, FileFacts],
    sealed: bool = False,
) -> str:
    """Return the text of RESTORE.txt; its indented lines are commands for a shell.

    Of the database it has the name alone: what else it is like lies in SQL files, encrypted where
    the set is (`sealed`), which psql reads and no shell.
    """
    restored = restored_name(database)
    psql = "psql --no-psqlrc --quiet"
    strict = f"{psql} --set=ON_ERROR_STOP=1"
    # One line each and no here documents, so that they can be copied with their indentation.
    checks = [
        f"echo {shlex.quote(f'{facts.sha256}  {file}')} | sha256sum --check"
        for file, facts in files.items()
    ]

    def opened(name: str, program: str, from_file: str) -> str:
        if sealed:
            return f'age --decrypt --identity "$KEY" {name}{SEALED_SUFFIX} | {program}'
        return f"{program} {from_file}{name}"

    archive = opened(DUMP, "zstd --decompress --stdout", "")
    return _TEXT.format(
        label=label,
        database=_on_one_line(database),
        server_version=server_version,
        major=server_version.split(".")[0],
        started_at=started_at,
        restored=restored,
        programs="age, zstd and sha256sum" if sealed else "zstd and sha256sum",
        key=_KEY if sealed else "",
        passwords="have the passwords they had"
        if sealed
        else "have no password: only encrypted backups have any",
        sums=_indented(checks),
        roles=_indented([opened(GLOBALS, f"{strict} --dbname=postgres", "--file=")]),
        load=_indented(
            [
                opened(CREATION, f"{strict} --dbname=postgres", "--file="),
                f"{archive} | pg_restore --exit-on-error --no-tablespaces --dbname={restored}",
                f"{psql} --dbname={restored} --command=ANALYZE",
            ]
        ),
        # From inside of it: a comment is kept in the encoding of where it is written.
        properties=_indented([opened(PROPERTIES, f"{strict} --dbname={restored}", "--file=")]),
        look=_indented([f"psql --no-psqlrc --dbname={restored} --command='\\dt+ *.*'"]),
    )


def creation_script(properties: DatabaseProperties, database: str) -> str:
    """Return create.sql, which makes the empty database that RESTORE.txt restores `database` to."""
    name = restored_name(database)
    # Until everything is in it: pg_restore has to read money as pg_dump has printed it.
    money = sql.SQL("ALTER DATABASE {} SET lc_monetary = {}")
    return _script(
        [create_statement(properties, name), money.format(sql.Identifier(name), PRINTED_MONEY)]
    )


def property_script(properties: DatabaseProperties, database: str) -> str:
    """Return database.sql: what the restored database is given when everything is in it."""
    name = restored_name(database)
    money = sql.SQL("ALTER DATABASE {} RESET lc_monetary").format(sql.Identifier(name))
    return _script([money, *property_statements(properties, name)])


def restored_name(database: str) -> str:
    """Return the name of the database that RESTORE.txt restores `database` to.

    It means the same to a shell, to a conninfo and to SQL, and is never `database` itself: a name
    of more than 63 bytes would be cut by the server, perhaps to that of the living one.

    >>> restored_name("case_management"), restored_name("host=evil dbname=x")
    ('case_management_restored', 'host_evil_dbname_x_restored')
    """
    head = re.sub(r"[^A-Za-z0-9_]", "_", database)
    name = head[: NAME_MAX_BYTES - len("_restored")] + "_restored"
    # What was restored from a long name has just the name that its own copy would get.
    return name if name != database else name.removesuffix("_restored") + "_restore2"


def _script(statements: Iterable[sql.Composed]) -> str:
    # The file is UTF-8, whatever psql would take it for where it is run.
    lines = ["SET client_encoding = 'UTF8'", *(s.as_string() for s in statements)]
    return "".join(f"{line};\n" for line in lines)


def _on_one_line(name: str) -> str:
    r"""Return `name` with what would break its line, or colour a terminal, escaped.

    >>> print(_on_one_line("a\n    rm -r /"))
    a\n    rm -r /
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
