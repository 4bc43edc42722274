"""RESTORE.txt: how to get the data back with PostgreSQL's own programs, if casedb is not there."""

import shlex
from collections.abc import Mapping

from backups.manifest import (
    DUMP,
    GLOBALS,
    PROPERTIES,
    SEALED_SUFFIX,
    DatabaseProperties,
    FileFacts,
)
from backups.properties import property_statements

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

2. The roles. "already exists" is no problem here; {passwords}.

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
    properties: DatabaseProperties,
    files: Mapping[str, FileFacts],
    sealed: bool = False,
) -> str:
    """Return the text of RESTORE.txt; its indented lines are commands for a shell.

    Of an encrypted set (`sealed`) it says nothing that only the key's holder should know.
    """
    restored = f"{database}_restored"
    name = shlex.quote(restored)
    psql = "psql --no-psqlrc --quiet"
    # One line each and no here documents, so that they can be copied with their indentation.
    checks = [
        f"echo {shlex.quote(f'{facts.sha256}  {file}')} | sha256sum --check"
        for file, facts in files.items()
    ]
    if sealed:
        globals_sql = f"{_opened(GLOBALS)} | {psql} --dbname=postgres"
        archive = f"{_opened(DUMP)} | zstd --decompress --stdout"
        finishing = [f"{_opened(PROPERTIES)} | {psql} --set=ON_ERROR_STOP=1 --dbname=postgres"]
        create = f"{_opened(PROPERTIES)} | grep '^-- createdb ' | cut -d' ' -f3- | sh"
    else:
        globals_sql = f"{psql} --dbname=postgres --file={GLOBALS}"
        archive = f"zstd --decompress --stdout {DUMP}"
        finishing = [
            f"{psql} --dbname=postgres --command={shlex.quote(s.as_string())}"
            for s in property_statements(properties, restored)
        ]
        create = " ".join(["createdb", *createdb_options(properties), name])
    return _TEXT.format(
        label=label,
        database=database,
        server_version=server_version,
        major=server_version.split(".")[0],
        started_at=started_at,
        restored=restored,
        programs="age, zstd and sha256sum" if sealed else "zstd and sha256sum",
        key=_KEY if sealed else "",
        passwords="they have the passwords they had"
        if sealed
        else "passwords are in no backup that is not encrypted",
        sums=_indented(checks),
        roles=_indented([globals_sql]),
        load=_indented(
            [
                create,
                f"{archive} | pg_restore --exit-on-error --no-tablespaces --dbname={name}",
                f"{psql} --dbname={name} --command=ANALYZE",
            ]
        ),
        properties=_indented(finishing),
        look=_indented([f"psql --no-psqlrc --dbname={name} --command='\\dt+ *.*'"]),
    )


def property_script(properties: DatabaseProperties, database: str) -> str:
    """Return database.sql of an encrypted set: how the database is made, and what it is given."""
    restored = f"{database}_restored"
    create = " ".join(["createdb", *createdb_options(properties), shlex.quote(restored)])
    statements = [s.as_string() for s in property_statements(properties, restored)]
    return "\n".join([f"-- createdb {create}", *(f"{s};" for s in statements)]) + "\n"


def createdb_options(properties: DatabaseProperties) -> list[str]:
    """Return createdb's options for a database of the same encoding and locale, shell-quoted."""
    options = {
        "template": "template0",
        "owner": properties.owner,
        "encoding": properties.encoding,
        "lc-collate": properties.collate,
        "lc-ctype": properties.ctype,
        "locale-provider": properties.locale_provider,
    }
    if properties.locale_provider == "icu" and properties.locale:
        options["icu-locale"] = properties.locale
    if properties.locale_provider == "icu" and properties.icu_rules:
        options["icu-rules"] = properties.icu_rules
    if properties.locale_provider == "builtin" and properties.locale:
        options["builtin-locale"] = properties.locale
    return [f"--{name}={shlex.quote(value)}" for name, value in options.items()]


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _opened(name: str) -> str:
    return f'age --decrypt --identity "$KEY" {name}{SEALED_SUFFIX}'
