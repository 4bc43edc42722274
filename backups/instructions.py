"""RESTORE.txt: how to get the data back with PostgreSQL's own programs, if casedb is not there."""

import shlex
from collections.abc import Mapping

from backups.manifest import DUMP, GLOBALS, DatabaseProperties, FileFacts
from backups.properties import property_statements

_TEXT = """\
How to restore this backup without casedb
=========================================

Backup    {label}
Database  {database}, on PostgreSQL {server_version}
Taken     {started_at} UTC

You need PostgreSQL {major}'s programs, zstd and sha256sum. Set PGHOST, PGPORT and PGUSER so that
psql reaches the server as a superuser, go into this folder, and run the indented commands.
Nothing that is there is overwritten: everything goes into a new database, {restored}.

1. Are the files whole? Every line must end in OK.

{sums}

2. The roles. "already exists" is no problem here; passwords are not in any backup.

{roles}

3. A new database, and everything into it. Stop if anything fails.

{load}

4. Who owns the database and who may enter it. No dump contains that.

{properties}

5. Look at it, and only then let the application in, by this database's name or by renaming it.

{look}
"""


def instructions(
    *,
    label: str,
    database: str,
    server_version: str,
    started_at: str,
    properties: DatabaseProperties,
    files: Mapping[str, FileFacts],
) -> str:
    """Return the text of RESTORE.txt; its indented lines are commands for a shell."""
    restored = f"{database}_restored"
    name = shlex.quote(restored)
    # One line each and no here documents, so that they can be copied with their indentation.
    checks = [
        f"echo {shlex.quote(f'{facts.sha256}  {file}')} | sha256sum --check"
        for file, facts in files.items()
    ]
    statements = [s.as_string() for s in property_statements(properties, restored)]
    return _TEXT.format(
        label=label,
        database=database,
        server_version=server_version,
        major=server_version.split(".")[0],
        started_at=started_at,
        restored=restored,
        sums=_indented(checks),
        roles=_indented([f"psql --no-psqlrc --quiet --dbname=postgres --file={GLOBALS}"]),
        load=_indented(
            [
                " ".join(["createdb", *createdb_options(properties), name]),
                f"zstd --decompress --stdout {DUMP} |"
                f" pg_restore --exit-on-error --no-tablespaces --dbname={name}",
                f"psql --no-psqlrc --quiet --dbname={name} --command=ANALYZE",
            ]
        ),
        properties=_indented(
            [
                f"psql --no-psqlrc --quiet --dbname=postgres --command={shlex.quote(statement)}"
                for statement in statements
            ]
        ),
        look=_indented([f"psql --no-psqlrc --dbname={name} --command='\\dt+ *.*'"]),
    )


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
