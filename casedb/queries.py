"""The named queries of the back end: SQL files with a head that a program can read.

    -- What it answers, in sentences.
    --
    -- @param {Int} $1:page_size Rows.     as Prisma's TypedSQL has it; `name?` may be null
    -- @default page_size 50               where nothing is given
    -- @sample case_id SELECT ...          how `explain` finds a value where nothing is given
    -- @next after_time created_at         for the next page: this column of the last row
    -- @column id uuid                     what comes back, in order
    -- @budget no sequential scan on cases, case_logs
    -- @budget at most 200 buffers         of 8 kB, found in memory or read
    SELECT ...

Parameters are PostgreSQL's own ($1), so the same file runs in psql, node-postgres and TypedSQL.
https://www.prisma.io/docs/orm/prisma-client/using-raw-sql/typedsql
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import takewhile
from typing import Any, LiteralString

from psycopg import Connection, RawCursor

from casedb.errors import ConfigurationError, UsageError
from casedb.sqlfiles import folder, read_sql

_FOLDER = "queries"
_PARAM = re.compile(
    r"\{(?P<type>\w+)\} \$(?P<position>\d+):(?P<name>\w+)(?P<null>\??) (?P<text>.+)"
)
_SCANS = re.compile(r"no sequential scan on (?P<tables>\w+(?:, \w+)*)")
_BUFFERS = re.compile(r"at most (?P<count>\d+) buffers")


class ParameterType(StrEnum):
    """What a parameter takes, in TypedSQL's words; an id is a String."""

    INT = "Int"
    STRING = "String"
    DATE_TIME = "DateTime"
    BOOLEAN = "Boolean"


@dataclass(frozen=True)
class Parameter:
    """One parameter; its position in the statement is its position in the query's tuple."""

    name: str
    type: ParameterType
    nullable: bool
    description: str
    default: str | None = None
    sample: LiteralString | None = None
    """A statement that finds a value, for `explain`."""


@dataclass(frozen=True)
class Column:
    """One column of the result, and PostgreSQL's short name of its type (int8, timestamptz)."""

    name: str
    type: str


@dataclass(frozen=True)
class Budget:
    """What the plan may do. Never milliseconds: they measure the machine."""

    no_scan_on: tuple[str, ...]
    """Tables of which no sequential scan is allowed."""
    max_buffers: int
    """Pages of 8 kB, found in memory or read."""


@dataclass(frozen=True)
class NamedQuery:
    """One file of `sql/queries/`."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    budget: Budget
    next_page: Mapping[str, str]
    """Parameter: the column of a page's last row that it takes for the next page."""
    sql: LiteralString = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What a query returned."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]] = field(repr=False)
    next_page: Mapping[str, object] | None
    """What to give for the next page; None: this was the last one, or the query has no pages."""


def names() -> list[str]:
    """Return the names of all queries, sorted."""
    return sorted(path.stem for path in (folder("sql") / _FOLDER).glob("*.sql"))


def load(name: str) -> NamedQuery:
    """Return one query; `my-open-cases` is `my_open_cases`.

    The files have underscores because TypedSQL makes a JavaScript function of each.

    Raises:
        UsageError: there is no query of that name; the hint has the nearest.
    """
    wanted = name.replace("-", "_")
    known = names()
    if wanted not in known:
        nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
        raise UsageError(
            f'there is no query named "{name}"',
            hint=f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(known)}.",
        )
    return parse(wanted, read_sql(f"{_FOLDER}/{wanted}.sql"))


def parse(name: str, text: LiteralString) -> NamedQuery:
    """Return the query written in `text`, head and all.

    Raises:
        ConfigurationError: the head has a tag that is unknown, misspelt or contradicts another.
    """
    comment = takewhile(lambda line: line.startswith("--"), text.splitlines())
    head = [line[2:].strip() for line in comment]
    tags = [line.partition(" ")[::2] for line in head if line.startswith("@")]
    known = {"@param", "@default", "@sample", "@next", "@column", "@budget"}
    for tag, rest in tags:
        if tag not in known or not rest:
            raise _broken(name, f"{tag} {rest}".strip())
    pairs = {
        wanted: {key: value for tag, (key, _, value) in _parted(tags) if tag == wanted}
        for wanted in ("@default", "@sample", "@next")
    }
    parameters = _parameters(name, tags, pairs)
    columns = tuple(
        Column(key, value) for tag, (key, _, value) in _parted(tags) if tag == "@column"
    )
    for wanted, found in pairs.items():
        for key in found.keys() - {parameter.name for parameter in parameters}:
            raise _broken(name, f"{wanted} {key}")
    for column in set(pairs["@next"].values()) - {column.name for column in columns}:
        raise _broken(name, f"@next {column}")
    return NamedQuery(
        name=name,
        description=" ".join(line for line in head if line and not line.startswith("@")),
        parameters=parameters,
        columns=columns,
        budget=_budget(name, [rest for tag, rest in tags if tag == "@budget"]),
        next_page=pairs["@next"],
        sql=text,
    )


def bind(query: NamedQuery, given: Mapping[str, object]) -> list[object]:
    """Return the values of `query`'s parameters in order; text becomes what the type asks for.

    Raises:
        UsageError: an unknown parameter, a missing one, or a value of another type.
    """
    known = [parameter.name for parameter in query.parameters]
    for name in given:
        if name not in known:
            raise UsageError(
                f'query {query.name} has no parameter "{name}"',
                hint=f"It has: {', '.join(known)}." if known else "It has none.",
            )
    values = []
    for parameter in query.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is None and not parameter.nullable:
            raise UsageError(
                f'query {query.name} needs the parameter "{parameter.name}"',
                detail=parameter.description,
                hint=f"Give it: --param {parameter.name}=...",
            )
        values.append(_typed(parameter, value) if isinstance(value, str) else value)
    return values


def run(connection: Connection[Any], query: NamedQuery, given: Mapping[str, object]) -> Answer:
    """Run `query` in whatever identity `connection` has, and return all of its rows.

    Raises:
        UsageError: see `bind`.
    """
    values = bind(query, given)
    cursor = RawCursor(connection)
    rows = cursor.execute(query.sql, values).fetchall()
    types = connection.adapters.types
    columns = tuple(
        Column(c.name, info.name if (info := types.get(c.type_code)) else str(c.type_code))
        for c in cursor.description or ()
    )
    return Answer(columns, rows, _next_page(query, columns, rows, values))


def pages(
    connection: Connection[Any], query: NamedQuery, given: Mapping[str, object]
) -> Iterator[Answer]:
    """Yield page after page of `query` to the last one. Rows inserted meanwhile lose none."""
    page = run(connection, query, given)
    yield page
    while page.next_page is not None:
        page = run(connection, query, {**given, **page.next_page})
        yield page


def _next_page(
    query: NamedQuery,
    columns: Sequence[Column],
    rows: Sequence[tuple[Any, ...]],
    values: Sequence[object],
) -> Mapping[str, object] | None:
    size = dict(zip((p.name for p in query.parameters), values, strict=True)).get("page_size")
    # A page that is not full is the last one.
    if not query.next_page or not rows or (isinstance(size, int) and len(rows) < size):
        return None
    last = dict(zip((column.name for column in columns), rows[-1], strict=True))
    return {parameter: last[column] for parameter, column in query.next_page.items()}


def _parted(
    tags: Sequence[tuple[LiteralString, LiteralString]],
) -> Iterator[tuple[str, tuple[LiteralString, LiteralString, LiteralString]]]:
    return ((tag, rest.partition(" ")) for tag, rest in tags)


def _parameters(
    name: str,
    tags: Sequence[tuple[str, str]],
    pairs: Mapping[str, Mapping[str, LiteralString]],
) -> tuple[Parameter, ...]:
    found: list[Parameter] = []
    for tag, rest in tags:
        if tag != "@param":
            continue
        match = _PARAM.fullmatch(rest)
        if (
            match is None
            or match["type"] not in set(ParameterType)
            or int(match["position"]) != len(found) + 1
        ):
            raise _broken(name, f"@param {rest}")
        found.append(
            Parameter(
                match["name"],
                ParameterType(match["type"]),
                nullable=bool(match["null"]),
                description=match["text"],
                default=pairs["@default"].get(match["name"]),
                sample=pairs["@sample"].get(match["name"]),
            )
        )
    return tuple(found)


def _budget(name: str, lines: Sequence[str]) -> Budget:
    tables: tuple[str, ...] = ()
    buffers = None
    for line in lines:
        if match := _SCANS.fullmatch(line):
            tables = tuple(match["tables"].split(", "))
        elif match := _BUFFERS.fullmatch(line):
            buffers = int(match["count"])
        else:
            raise _broken(name, f"@budget {line}")
    if buffers is None or not tables:
        raise _broken(name, "@budget")
    return Budget(tables, buffers)


def _typed(parameter: Parameter, text: str) -> object:
    try:
        match parameter.type:
            case ParameterType.INT:
                return int(text)
            case ParameterType.DATE_TIME:
                value = datetime.fromisoformat(text)
                # Without a zone it would mean another moment on every machine.
                return value if value.tzinfo else value.replace(tzinfo=UTC)
            case ParameterType.BOOLEAN:
                return {"true": True, "false": False}[text.lower()]
            case ParameterType.STRING:
                return text
    except (ValueError, KeyError):
        raise UsageError(
            f'parameter "{parameter.name}" cannot be {text!r}',
            detail=f"It is of type {parameter.type}: {parameter.description}",
            hint="Times are written as 2025-06-30T12:00:00Z." if "Time" in parameter.type else None,
        ) from None


def _broken(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the head of sql/queries/{name}.sql cannot be read",
        detail=f"At: {what}.",
        hint="docs/queries.md says what a head may contain.",
    )
