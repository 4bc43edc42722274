"""What a database held when a swap gave it its name or took it, and what has changed since.

As a setting of the database itself it is short, and there without a store and without a key: how
many rows each table has, how many large objects there are, and digests. A restore's report names
every fact of the catalog besides.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import Connection

from backups import content, fingerprint
from backups.compare import compare_large_objects
from backups.facts import read_sequences
from backups.manifest import LargeObjects, SequenceFacts, TableFacts
from backups.snapshot import prepare_session, read_relations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import first_few

# Roles belong to the server, and change without the database; large objects are counted apart.
_NOT_OF_THE_SHAPE = ("role", "membership", "large objects")
_DIGEST_CHARS = 12
_LINES_AT_MOST = 20
_UNREAD = "whether the large objects have changed nobody can tell: one of them is beyond 1 GB"


@dataclass(frozen=True)
class Shape:
    """What a database is besides the rows of its tables, a line each."""

    catalog: tuple[str, ...]
    """KIND: NAME DIGEST of everything in the catalog (see backups/fingerprint.py), sorted."""
    sequences: tuple[str, ...]
    """NAME and the number that it gives next."""


@dataclass(frozen=True)
class State:
    """All of what a database holds, as far as it is remembered."""

    tables: Sequence[TableFacts]
    large_objects: LargeObjects | None
    """None: one of them is larger than PostgreSQL reads at once."""
    shape: Shape


def read_shape(target: Conninfo) -> Shape:
    """Return what the database `target` is besides its rows."""
    with connect(target, purpose="restore: look") as connection:
        prepare_session(connection, content.SETTINGS)
        return _shape(connection)


def read_state(connection: Connection[Any]) -> State:
    """Return what the connected database holds, and what it is besides."""
    prepare_session(connection, content.SETTINGS)
    relations = [r for r in read_relations(connection) if r.has_rows and r.is_lockable]
    columns = content.read_columns(connection, relations)
    tables = [content.read_content(connection, r, columns[r.oid]) for r in relations]
    return State(tables, _read_large_objects(connection), _shape(connection))


def shape_of(facts: Iterable[fingerprint.Fact], sequences: Iterable[SequenceFacts]) -> Shape:
    """Return the lines of a catalog and of where its sequences stand.

    >>> shape_of([fingerprint.Fact("index", "public.a", "CREATE INDEX")], []).catalog
    ('index: public.a 4ef9fe964814',)
    """
    found: dict[str, list[str]] = {}
    for fact in sorted(facts):
        if fact.kind not in _NOT_OF_THE_SHAPE:
            found.setdefault(f"{fact.kind}: {fact.identity}", []).append(fact.definition)
    return Shape(
        tuple(f"{name} {_digest(texts)}" for name, texts in sorted(found.items())),
        tuple(sorted(f"{s.full_name} {s.next_value}" for s in sequences)),
    )


def as_setting(state: State) -> str:
    """Return `state` as one short text, to be kept in a setting.

    Everybody who logs in can read it. So it has how many rows each table has, which pg_class tells
    anyway, and digests over all of them: one of a small table would confirm a guess at its rows.
    """
    facts = sorted((t.full_name, t.rows, t.hash_sum, t.hash_xor) for t in _plain(state.tables))
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    rows = {name: rows for name, rows, *_ in facts}
    found = state.large_objects
    # Of a large object as well, a digest of its own would confirm a guess.
    objects = found and [found.count, _digest([digest, found.hash_sum, found.hash_xor])]
    shape = {
        "large_objects": objects,
        "catalog": _by_kind(state.shape.catalog),
        "sequences": _digest(state.shape.sequences),
    }
    return json.dumps({"sha256": digest, "rows": rows, **shape}, separators=(",", ":"))


def changes_since(
    before: str, state: State, read_shapes: Callable[[], Iterable[Shape]] = lambda: ()
) -> list[str]:
    """Return how a database differs from what `as_setting` made of it earlier, a line each.

    `read_shapes` yields what may be its shape of then, in full, as reports of restores have it;
    only asked if the shape has changed. Without the right one, only kinds of things are named.
    What was remembered by an older casedb has no shape, no large objects, or not all kinds of
    facts: that is not compared.
    """
    was = json.loads(before)
    state = replace(state, tables=_known(state.tables, was["rows"]))
    if fingerprint.PARTS not in was.get("catalog", ()):
        state = replace(state, shape=_first_part(state.shape))
    now = json.loads(as_setting(state))
    lines = _changed_rows(was["rows"], now["rows"])
    if not lines and was["sha256"] != now["sha256"]:
        lines.append("every table has as many rows as before, but not all the same")
    if "large_objects" in was:
        same_rows = was["sha256"] == now["sha256"]
        lines += _changed_objects(was["large_objects"], now["large_objects"], same_rows=same_rows)
    then = {name: was[name] for name in ("catalog", "sequences") if name in was}
    if then and any(now[name] != value for name, value in then.items()):
        right = (s for s in read_shapes() if then == _digests(s))
        lines += _changed_shape(was, now, next(right, None), state.shape)
    return lines


def changes(before: Sequence[TableFacts], objects: LargeObjects, state: State) -> list[str]:
    """Return how tables differ from `before` and large objects from `objects`, a line each."""
    was = {t.full_name: t for t in _plain(before)}
    now = {t.full_name: t for t in _plain(_known(state.tables, was))}
    lines = _changed_rows(*({name: t.rows for name, t in found.items()} for found in (was, now)))
    lines += [
        f"table {name} has {t.rows} rows as before, but not all the same"
        for name, t in now.items()
        if name in was and was[name] != t and was[name].rows == t.rows
    ]
    if state.large_objects is None:
        return [*lines, _UNREAD]
    return lines + compare_large_objects(objects, state.large_objects)


def _read_large_objects(connection: Connection[Any]) -> LargeObjects | None:
    try:
        return content.read_large_objects(connection)
    except psycopg.errors.ProgramLimitExceeded:
        return None


def _shape(connection: Connection[Any]) -> Shape:
    # An extension's sequences number the rows of its tables, which are looked at themselves; what
    # an older casedb remembered has none of them.
    sequences = [s for s in read_sequences(connection) if not s.extension]
    return shape_of(fingerprint.read_fingerprint(connection, []), sequences)


def _first_part(shape: Shape) -> Shape:
    kept = [
        line for line in shape.catalog if line.partition(": ")[0] not in fingerprint.SECOND_PART
    ]
    return replace(shape, catalog=tuple(kept))


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:_DIGEST_CHARS]


def _by_kind(catalog: Iterable[str]) -> dict[str, str]:
    kinds: dict[str, list[str]] = {}
    for line in catalog:
        kinds.setdefault(line.partition(": ")[0], []).append(line)
    return {kind: _digest(lines) for kind, lines in kinds.items()}


def _digests(shape: Shape) -> dict[str, object]:
    return {"catalog": _by_kind(shape.catalog), "sequences": _digest(shape.sequences)}


def _known(tables: Iterable[TableFacts], names: Collection[str]) -> list[TableFacts]:
    # An older casedb did not look at extensions' tables: they are not new.
    return [t for t in tables if not t.extension or t.full_name in names]


def _plain(tables: Iterable[TableFacts]) -> list[TableFacts]:
    # A materialized view is computed from tables that are compared themselves.
    return [t for t in tables if t.kind == "table"]


def _changed_rows(was: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    lines = [f"table {name} is gone" for name in sorted(was.keys() - now.keys())]
    for name, rows in now.items():
        if name not in was:
            lines.append(f"table {name} is new, with {rows} rows")
        elif was[name] != rows:
            lines.append(f"table {name} had {was[name]} rows and has {rows}")
    return lines


def _changed_objects(
    was: Sequence[Any] | None, now: Sequence[Any] | None, *, same_rows: bool
) -> list[str]:
    if was is None or now is None:
        return [_UNREAD]
    (before, digest), (after, digest_now) = was, now
    if before != after:
        return [f"there were {before} large objects and are {after}"]
    if same_rows:
        return [] if digest == digest_now else [f"the {after} large objects have other content"]
    # The digest is over the rows too, and these have changed.
    return [f"of {after} large objects nobody can tell whether they changed"] if after else []


def _changed_shape(
    was: Mapping[str, Any], now: Mapping[str, Any], then: Shape | None, found: Shape
) -> list[str]:
    if then is None:
        kinds = sorted(was["catalog"].keys() | now["catalog"].keys())
        changed = [k for k in kinds if was["catalog"].get(k) != now["catalog"].get(k)]
        lines = [f"catalog: {', '.join(changed)} not as before"] if changed else []
        if was["sequences"] != now["sequences"]:
            lines.append("sequences: not all stand where they stood")
        return lines
    lines = _changed_facts(then.catalog, found.catalog)
    before, after = (dict(_split(line) for line in s.sequences) for s in (then, found))
    return lines + [
        f"sequence {name} would have given {number} next and gives {after[name]}"
        for name, number in before.items()
        # One that is gone or new is a fact of the catalog.
        if after.get(name, number) != number
    ]


def _changed_facts(then: Iterable[str], found: Iterable[str]) -> list[str]:
    was, now = (dict(_split(line) for line in lines) for lines in (then, found))
    lines = [
        f"{name} is {'gone' if name not in now else 'new' if name not in was else 'not as before'}"
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]
    return first_few(lines, _LINES_AT_MOST, of=" facts of the catalog")


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.rpartition(" ")
    return name, value
