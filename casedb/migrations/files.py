"""The folder of migrations: what lies in it, in which order, and whether it can be trusted.

    NNNN-verb-object.sql            with the line `-- depends: NNNN-verb-object` at its head
    NNNN-verb-object.rollback.sql   undoes it

yoyo reads the same files. What it would silently ignore (a misspelt directive, a folder that is
not there) is an error here.
"""

import difflib
import glob
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoyo import exceptions, migrations
from yoyo.topologicalsort import CycleError

from casedb.errors import ConfigurationError
from casedb.migrations.statements import Outside, outside_statement

_ROLLBACK = ".rollback.sql"
_ID = re.compile(r"\d{4}(-[a-z0-9]+)+")
_DIRECTIVE = re.compile(r"\s*--\s*(transactional|depends)\s*:", re.IGNORECASE)
# What could be one that was misspelt: a word and a colon, and then not prose.
_LIKE_DIRECTIVE = re.compile(
    r"\s*--\s*([A-Za-z_-]+)\s*[:=]\s*(true|false|\d{4}-\S*)", re.IGNORECASE
)
_DIRECTIVES = ("transactional", "depends")
_COMMENT_LINE = re.compile(r"\s*(--.*)?")
# White space and comments before a statement's first word.
_LEADING = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
# Any of these would end the transaction that also holds the migration's mark.
_TRANSACTION_WORDS = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"})


@dataclass(frozen=True)
class MigrationFile:
    """One migration of the folder."""

    id: str
    path: Path
    sql: str = field(repr=False)
    rollback: str | None = field(repr=False)
    """The text of the rollback file; None if there is none, or no statement in it."""
    transactional: bool
    statements: tuple[str, ...] = field(repr=False)
    """Those of the migration, as yoyo splits them."""
    undoing: tuple[str, ...] = field(repr=False)
    """Those of the rollback."""
    checksum: str
    script: Any = field(repr=False, compare=False)
    """yoyo's own object for it."""

    @property
    def rollback_path(self) -> Path:
        """Where the rollback lies, or would lie."""
        return self.path.with_name(self.id + _ROLLBACK)


def read_folder(source: Path) -> list[MigrationFile]:
    """Return the migrations in `source`, each after those it depends on.

    Raises:
        ConfigurationError: if there is no such folder, or something in it that yoyo would ignore,
            misread or run outside of a transaction. Names the file.
    """
    if not source.is_dir():
        raise ConfigurationError(
            f"the folder of migrations {source} does not exist",
            hint="Run in the project's root, or name the folder.",
        )
    _refuse_strangers(source)
    _refuse_equal_numbers(source)
    # yoyo globs the name: a bracket in a path would match nothing, silently.
    scripts = migrations.read_migrations(glob.escape(str(source)))
    for script in scripts:
        _check_head(Path(script.path))
        _load(script)
    _check_dependencies(scripts)
    try:
        in_order = list(migrations.topological_sort(scripts))
    # Ours is a list, so the sort runs here and not later, outside of yoyo's own `except`.
    except (exceptions.BadMigration, CycleError) as error:
        raise ConfigurationError(
            "the migrations cannot be ordered: some depend on each other",
            detail=str(error),
            hint="Look at their `-- depends:` lines.",
        ) from error
    return [_migration_file(script) for script in in_order]


def checksum(sql: str, rollback: str | None) -> str:
    """Return the SHA-256 (hex) of a migration and its rollback, whatever their line endings.

    >>> checksum("a\\r\\nb", None) == checksum("a\\nb", None)
    True
    >>> checksum("a", None) == checksum("a", "")
    False
    """
    parts = [_newlines(text).encode() for text in (sql, rollback) if text is not None]
    # With the lengths, so that nothing can move from one file to the other unseen.
    lengths = " ".join(str(len(part)) for part in parts)
    return hashlib.sha256(b"\n".join([lengths.encode(), *parts])).hexdigest()


def place_of(
    text: str, statements: list[str], position: int | None
) -> tuple[int, int | None] | None:
    """Return line and column of `text` at which the last of `statements` failed, from 1.

    None if it is not found; no column where the server names no position. `statements` are those
    run so far, in order; `position` is the server's: characters into the last one, from 1.
    """
    text = _newlines(text)
    begin = end = 0
    for statement in statements:
        begin = text.find(_newlines(statement), end)
        if begin < 0:
            return None
        end = begin + len(_newlines(statement))
    offset = begin + position - 1 if position else skip_comments(text, begin)
    line = text.count("\n", 0, offset) + 1
    return line, offset - text.rfind("\n", 0, offset) if position else None


def skip_comments(text: str, start: int = 0) -> int:
    """Return where the first word after white space and comments begins."""
    found = _LEADING.match(text, start)
    return found.end() if found else start


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_strangers(source: Path) -> None:
    names = {path.name for path in source.iterdir() if path.is_file()}
    for name in sorted(names):
        if name.endswith(".py"):
            raise ConfigurationError(
                f"{source / name} is Python; migrations are SQL",
                detail="yoyo would run it, and it would change whenever the code it imports does.",
                hint="Write it as NNNN-verb-object.sql.",
            )
        if not name.endswith(".sql"):
            continue
        stem = name.removesuffix(".sql").removesuffix(".rollback")
        if not _ID.fullmatch(stem):
            raise ConfigurationError(
                f"{source / name} is not named like a migration",
                hint="Name it NNNN-verb-object.sql, in lower case, such as 0009-add-deadline.sql.",
            )
        if name.endswith(_ROLLBACK) and f"{stem}.sql" not in names:
            raise ConfigurationError(
                f"{source / name} is the rollback of a migration that is not there",
                hint=f"Bring {stem}.sql back, or remove its rollback too.",
            )


def _refuse_equal_numbers(source: Path) -> None:
    by_number: dict[str, list[str]] = {}
    for path in sorted(source.glob("*.sql")):
        if not path.name.endswith(_ROLLBACK):
            by_number.setdefault(path.name[:4], []).append(path.name)
    for number, names in by_number.items():
        if len(names) > 1:
            raise ConfigurationError(
                f"two migrations have the number {number}: {' and '.join(names)}",
                detail="Two branches were merged, probably.",
                hint="Give the one that is applied nowhere yet the next free number, and let it "
                "depend on the other.",
            )


def _check_head(path: Path) -> None:
    """Refuse a directive that yoyo would ignore: not in lower case, or not at the head."""
    head = True
    for number, line in enumerate(_read(path).splitlines(), start=1):
        head = head and _COMMENT_LINE.fullmatch(line) is not None
        found = _DIRECTIVE.match(line)
        if found and (not head or not found.group(1).islower()):
            raise ConfigurationError(
                f"{path.name}, line {number}: this directive would be ignored",
                detail=line.strip(),
                hint="Directives stand in lower case before the first statement and before any "
                "/* comment */: `-- transactional: false`, `-- depends: NNNN-verb-object`.",
            )
        like = _LIKE_DIRECTIVE.match(line) if head and not found else None
        if like:
            word = like.group(1)
            near = difflib.get_close_matches(word.lower(), _DIRECTIVES, n=1, cutoff=0.5)
            raise ConfigurationError(
                f'{path.name}, line {number}: there is no directive "{word}"',
                detail=line.strip(),
                hint=f"Did you mean `-- {near[0]}: ...`?"
                if near
                else f"There are two: {' and '.join(_DIRECTIVES)}.",
            )


def _load(script: Any) -> None:
    path = Path(script.path)
    directives, _, _ = migrations.read_sql_migration(script.path)
    transactional = directives.get("transactional", "true")
    if transactional.lower() not in ("true", "false"):
        raise ConfigurationError(
            f'{path.name}: "{transactional}" is neither true nor false',
            detail=f"-- transactional: {transactional}",
        )
    unknown = [
        name
        for name in directives.get("depends", "").split()
        if not (path.parent / f"{name}.sql").is_file()
    ]
    if unknown:
        raise ConfigurationError(
            f"{path.name} depends on {', '.join(unknown)}, which is not in the folder",
            hint="Check the spelling; the name is without .sql.",
        )
    script.load()


def _check_dependencies(scripts: Any) -> None:
    heads = sorted(script.id for script in migrations.heads(scripts))
    if len(heads) > 1:
        raise ConfigurationError(
            f"the migrations fork: {' and '.join(heads)} are both the last one",
            detail="Two branches were merged, probably.",
            hint=f"Let {heads[-1]} depend on {heads[0]}.",
        )


def _migration_file(script: Any) -> MigrationFile:
    path = Path(script.path)
    rollback_path = path.with_name(script.id + _ROLLBACK)
    rollback = _read(rollback_path) if rollback_path.is_file() else None
    _, _, statements = migrations.read_sql_migration(str(path))
    _, _, undoing = migrations.read_sql_migration(str(rollback_path))
    if not statements:
        raise ConfigurationError(f"{path.name} has no statement")
    for name, texts in ((path.name, statements), (rollback_path.name, undoing)):
        _check_statements(name, texts, transactional=script.use_transactions)
    sql = _read(path)
    return MigrationFile(
        id=script.id,
        path=path,
        sql=sql,
        rollback=rollback if undoing else None,
        transactional=script.use_transactions,
        statements=tuple(statements),
        undoing=tuple(undoing),
        checksum=checksum(sql, rollback),
        script=script,
    )


def _check_statements(name: str, statements: list[str], *, transactional: bool) -> None:
    for statement in statements:
        word = re.match(r"\w*", statement[skip_comments(statement) :])
        if word and word.group().upper() in _TRANSACTION_WORDS:
            raise ConfigurationError(
                f"{name} contains {word.group().upper()}",
                detail="Its transaction is the runner's, which records in it what was applied.",
                hint="Take it out; a file runs in one transaction anyway.",
            )
    if not transactional and len(statements) > 1:
        raise ConfigurationError(
            f"{name} is not transactional and has {len(statements)} statements",
            detail="If a later one failed, the earlier ones could not be undone.",
            hint="Give each statement a migration of its own.",
        )
    if not transactional and statements:
        _check_outside(name, statements[0])


def _check_outside(name: str, statement: str) -> None:
    """Refuse what a killed run would leave in a state that no retry could tell from another."""
    if outside_statement(statement) is None:
        raise ConfigurationError(
            f"{name} is not transactional, and what it does could not be resumed",
            detail=f"Outside of a transaction run {', '.join(Outside)} (VACUUM, ANALYZE, CALL); "
            "an index needs a name.",
            hint="Take the line `-- transactional: false` out: everything else is safe inside.",
        )


def _read(path: Path) -> str:
    try:
        # newline="": the checksum decides for itself what it makes of line endings.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", detail=f"{error}.") from error
