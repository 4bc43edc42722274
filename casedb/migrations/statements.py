"""What a migration's statements are, as far as the runner has to know: pure functions of the text.

Two questions only: what does a statement outside of a transaction leave when it is killed, and
which statements announce that they throw data away. What the text does not show (a DO block, a
CASCADE) the runner finds in the catalog instead, before it commits: see casedb.migrations.losses.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})?"
_QUOTED = re.compile(
    # Comments, dollar quotes, strings (E'' with its backslashes first), quoted identifiers.
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<body>(?P<tag>\$\w*\$).*?(?P=tag))"""
    r"""|(?P<string>\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")""",
    re.DOTALL,
)
_CREATE = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?(?!ON |IF )(?P<index>{_IDENTIFIER})"
    rf" ON (?:ONLY )?(?P<table>{_NAME})",
    re.IGNORECASE,
)
_DROP = re.compile(
    rf"DROP INDEX CONCURRENTLY (?:IF EXISTS )?(?P<index>{_NAME})(?: RESTRICT| CASCADE)? ?;?",
    re.IGNORECASE,
)
_REINDEX = re.compile(
    rf"REINDEX (?:\([^)]*\) )?(?:INDEX|TABLE|SCHEMA) CONCURRENTLY (?P<table>{_NAME})", re.IGNORECASE
)
_REPEATABLE = re.compile(r"(?:VACUUM|ANALYZE|CALL)\b", re.IGNORECASE)
_VACUUM_FULL = re.compile(r"VACUUM (?:\([^)]*\bFULL\b|FULL\b)", re.IGNORECASE)
_DROP_TABLE = re.compile(r"DROP TABLE (?:IF EXISTS )?(?P<rest>.*)", re.IGNORECASE)
_TRUNCATE = re.compile(r"TRUNCATE (?:TABLE )?(?P<rest>.*)", re.IGNORECASE)
_DELETE = re.compile(rf"(?:WITH .*\) )?DELETE FROM (?:ONLY )?(?P<table>{_NAME})", re.IGNORECASE)
_ALTER_TABLE = re.compile(
    rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(?P<table>{_NAME}) (?P<rest>.*)", re.IGNORECASE
)
_DROP_COLUMN = re.compile(
    rf"DROP (?!CONSTRAINT\b)(?:COLUMN )?+(?:IF EXISTS )?+(?P<column>{_IDENTIFIER})", re.IGNORECASE
)
_RETYPE = re.compile(
    rf"ALTER (?:COLUMN )?+(?P<column>{_IDENTIFIER}) (?:SET DATA )?TYPE ", re.IGNORECASE
)


class Outside(StrEnum):
    """The kinds of statement that may run outside of a transaction, and be killed in it."""

    CREATE_INDEX = "create index concurrently"
    DROP_INDEX = "drop index concurrently"
    REINDEX = "reindex concurrently"
    REPEATABLE = "repeatable"
    """VACUUM, ANALYZE, CALL: half done, it is simply done again."""


@dataclass(frozen=True)
class OutsideStatement:
    """One statement that runs outside of a transaction."""

    kind: Outside
    index: str | None = None
    """The index it makes or drops, with its schema, as SQL writes it."""
    table: str | None = None
    """The table it works on, as SQL writes it; for REINDEX, what is named there."""
    exclusive: bool = False
    """Whether it stops everybody (VACUUM FULL)."""


class LossKind(StrEnum):
    """How a statement throws data away."""

    DROP_TABLE = "drop table"
    DROP_COLUMN = "drop column"
    CHANGE_TYPE = "change type"
    TRUNCATE = "truncate"
    DELETE = "delete"


@dataclass(frozen=True)
class Announced:
    """A loss that a statement's own text announces."""

    kind: LossKind
    table: str
    """As the statement writes it."""
    column: str | None = None


def bare(statement: str) -> str:
    """Return `statement` on one line, without comments, and with empty strings and bodies.

    >>> bare("DROP  TABLE -- all\\n a.b /* so */ ;")
    'DROP TABLE a.b ;'
    >>> bare("DO $$ DROP TABLE x $$")
    "DO ''"
    """

    def shown(found: re.Match[str]) -> str:
        if found["comment"]:
            return " "
        return found["name"] or "''"

    return " ".join(_QUOTED.sub(shown, statement).split())


def outside_statement(statement: str) -> OutsideStatement | None:
    """Return what `statement` is, or None if a killed run of it could not be mended.

    >>> outside_statement("CREATE INDEX CONCURRENTLY i ON public.t (a)").index
    'public.i'
    >>> outside_statement("ALTER TABLE t DETACH PARTITION p CONCURRENTLY") is None
    True
    """
    text = bare(statement)
    if found := _CREATE.match(text):
        schema, dot, _ = found["table"].rpartition(".")
        return OutsideStatement(
            Outside.CREATE_INDEX, f"{schema}{dot}{found['index']}", found["table"]
        )
    if found := _DROP.fullmatch(text):
        return OutsideStatement(Outside.DROP_INDEX, found["index"])
    if found := _REINDEX.match(text):
        return OutsideStatement(Outside.REINDEX, table=found["table"])
    if _REPEATABLE.match(text):
        return OutsideStatement(Outside.REPEATABLE, exclusive=bool(_VACUUM_FULL.match(text)))
    return None


def announced_losses(statement: str) -> list[Announced]:
    """Return what `statement` says it will throw away; empty for most.

    >>> announced_losses("ALTER TABLE public.t DROP COLUMN a, DROP CONSTRAINT b")
    [Announced(kind=<LossKind.DROP_COLUMN: 'drop column'>, table='public.t', column='a')]
    """
    text = bare(statement).rstrip("; ")
    if found := _DROP_TABLE.fullmatch(text):
        return [Announced(LossKind.DROP_TABLE, name) for name in _names(found["rest"])]
    if found := _TRUNCATE.fullmatch(text):
        return [Announced(LossKind.TRUNCATE, name) for name in _names(found["rest"])]
    if found := _DELETE.match(text):
        return [Announced(LossKind.DELETE, found["table"])]
    if found := _ALTER_TABLE.fullmatch(text):
        return list(_altered(found["table"], found["rest"]))
    return []


def _altered(table: str, actions: str) -> Iterator[Announced]:
    for action in _split(actions):
        if found := _DROP_COLUMN.match(action):
            yield Announced(LossKind.DROP_COLUMN, table, found["column"])
        elif found := _RETYPE.match(action):
            yield Announced(LossKind.CHANGE_TYPE, table, found["column"])


def _names(listed: str) -> Iterator[str]:
    for part in _split(listed):
        found = re.match(rf"(?:ONLY )?(?P<name>{_NAME})", part, re.IGNORECASE)
        if found:
            yield found["name"]


def _split(listed: str) -> Iterator[str]:
    """Yield the parts between the commas that stand in no parentheses and no quotes."""
    depth, quoted, part = 0, False, ""
    for character in listed:
        quoted ^= character == '"'
        depth += 0 if quoted else {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0 and not quoted:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()
