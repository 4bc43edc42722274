"""What a server has and what it should have: the SQL that leads from one to the other. Pure.

Both ways: what is not wanted is revoked, lowered and unset. A field of a wish that is None is left
as it is found. Everything is quoted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from deploy.scram import matches, new_verifier

_ATTRIBUTES = {
    "superuser": "SUPERUSER",
    "createdb": "CREATEDB",
    "createrole": "CREATEROLE",
    "inherit": "INHERIT",
    "login": "LOGIN",
    "replication": "REPLICATION",
    "bypassrls": "BYPASSRLS",
}
_NOTES = "casedb."
_ALL_PRIVILEGES = {
    "DATABASE": {"CREATE", "CONNECT", "TEMPORARY"},
    "SCHEMA": {"CREATE", "USAGE"},
    "TABLE": {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "REFERENCES",
        "TRIGGER",
        "MAINTAIN",
    },
    "FUNCTION": {"EXECUTE"},
}


@dataclass(frozen=True)
class Statement:
    """One SQL statement, and how it is shown where a secret is in it."""

    sql: str = field(repr=False)
    shown: str = ""

    def __str__(self) -> str:
        return self.shown or self.sql


@dataclass(frozen=True)
class Role:
    """How a role should be; None leaves a thing as it is."""

    name: str
    superuser: bool | None = None
    createdb: bool | None = None
    createrole: bool | None = None
    inherit: bool | None = None
    login: bool | None = None
    replication: bool | None = None
    bypassrls: bool | None = None
    connection_limit: int | None = None
    """-1: no limit."""
    valid_until: str | None = None
    """A time in ISO 8601, or "infinity"."""
    password: str | None = field(default=None, repr=False)
    """The plaintext; it becomes a verifier here. Empty: the role has none."""
    member_of: frozenset[str] | None = None
    settings: Mapping[str, str] | None = None
    """All of its own settings (ALTER ROLE ... SET)."""
    comment: str | None = None
    present: bool = True


def plain_role(name: str, **wanted: Any) -> Role:
    """Return a role of which everything is decided: what `wanted` does not name is off.

    Raises:
        ValueError: `wanted` names what a role does not have.
    """
    known = {f.name for f in fields(Role)}
    if unknown := sorted(set(wanted) - known):
        raise ValueError(f"role {name} has no {', '.join(unknown)}")
    settled: dict[str, Any] = {attribute: False for attribute in _ATTRIBUTES}
    settled |= {
        "inherit": True,
        "connection_limit": -1,
        "valid_until": "infinity",
        "member_of": (),
        "settings": {},
        "comment": "",
    }
    settled |= wanted
    settled["member_of"] = frozenset(settled["member_of"])
    return Role(name, **settled)


@dataclass(frozen=True)
class Database:
    """How a database should be; None leaves a thing as it is."""

    name: str
    owner: str | None = None
    connection_limit: int | None = None
    tablespace: str | None = None
    settings: Mapping[str, str] | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Grants:
    """All privileges on one object; whoever is not named has none. The owner's are left alone."""

    kind: str
    """DATABASE, SCHEMA, TABLE or FUNCTION."""
    name: str
    """As SQL, a schema before it where there is one: public.cases."""
    owner: str
    wanted: Mapping[str, frozenset[str]]
    """Grantee (or PUBLIC) and privileges."""


def role_statements(found: Mapping[str, Any] | None, wish: Role) -> list[Statement]:
    """Return what makes `wish` true of the role `found` (None: there is none)."""
    name = quote_name(wish.name)
    if not wish.present:
        return [] if found is None else [Statement(f"DROP ROLE {name}")]
    made = []
    if found is None:
        made.append(Statement(f"CREATE ROLE {name}"))
        found = NEW_ROLE
    words = [
        word if wanted else f"NO{word}"
        for attribute, word in _ATTRIBUTES.items()
        if (wanted := getattr(wish, attribute)) is not None and wanted != found[attribute]
    ]
    if wish.connection_limit not in (None, found["connection_limit"]):
        words.append(f"CONNECTION LIMIT {wish.connection_limit:d}")
    if wish.valid_until is not None and not _same_time(wish.valid_until, found["valid_until"]):
        words.append(f"VALID UNTIL {quote_text(wish.valid_until)}")
    if words:
        made.append(Statement(f"ALTER ROLE {name} {' '.join(words)}"))
    if wish.password == "":
        if found["verifier"] is not None:
            made.append(Statement(f"ALTER ROLE {name} PASSWORD NULL"))
    elif wish.password is not None and not matches(wish.password, found["verifier"]):
        verifier = quote_text(new_verifier(wish.password))
        made.append(
            Statement(f"ALTER ROLE {name} PASSWORD {verifier}", f"ALTER ROLE {name} PASSWORD '***'")
        )
    if wish.member_of is not None:
        has = set(found["member_of"])
        made += [
            Statement(f"REVOKE {quote_name(r)} FROM {name} CASCADE")
            for r in sorted(has - wish.member_of)
        ]
        made += [
            Statement(f"GRANT {quote_name(r)} TO {name}") for r in sorted(wish.member_of - has)
        ]
    made += _settings(f"ROLE {name}", found["settings"], wish.settings)
    made += _comment(f"ROLE {name}", found["comment"], wish.comment)
    return made


NEW_ROLE: Mapping[str, Any] = {
    **{attribute: attribute == "inherit" for attribute in _ATTRIBUTES},
    "connection_limit": -1,
    "valid_until": "infinity",
    "verifier": None,
    "member_of": [],
    "settings": {},
    "comment": "",
}
"""What CREATE ROLE without a word makes."""


def database_statements(found: Mapping[str, Any] | None, wish: Database) -> list[Statement]:
    """Return what makes `wish` true of the database `found` (None: there is none).

    It gets its name last: a run killed half-way leaves no database whose settings are missing.
    """
    name = quote_name(wish.name)
    if found is None:
        making = quote_name(f"{wish.name}_making")
        tablespace = f" TABLESPACE {quote_name(wish.tablespace)}" if wish.tablespace else ""
        owner = f" OWNER {quote_name(wish.owner)}" if wish.owner else ""
        new: dict[str, Any] = {
            "owner": wish.owner,
            "connection_limit": -1,
            "settings": {},
            "comment": "",
        }
        rest = database_changes(making, {**new, "tablespace": wish.tablespace}, wish)
        return [
            Statement(f"DROP DATABASE IF EXISTS {making}"),
            Statement(f"CREATE DATABASE {making} TEMPLATE template0{owner}{tablespace}"),
            *rest,
            Statement(f"ALTER DATABASE {making} RENAME TO {name}"),
        ]
    return database_changes(name, found, wish)


def database_changes(name: str, found: Mapping[str, Any], wish: Database) -> list[Statement]:
    """Return what makes `wish` true of an existing database; `name` is quoted already."""
    made = []
    if wish.owner not in (None, found["owner"]):
        made.append(Statement(f"ALTER DATABASE {name} OWNER TO {quote_name(str(wish.owner))}"))
    if wish.connection_limit not in (None, found["connection_limit"]):
        limit = int(wish.connection_limit or 0)
        made.append(Statement(f"ALTER DATABASE {name} CONNECTION LIMIT {limit}"))
    if wish.tablespace not in (None, found["tablespace"]):
        made.append(
            Statement(f"ALTER DATABASE {name} SET TABLESPACE {quote_name(str(wish.tablespace))}")
        )
    # What a restore notes in the database, its undo needs: no drift, and never reset.
    held = {
        key: value
        for key, value in found["settings"].items()
        if key in (wish.settings or {}) or not key.startswith(_NOTES)
    }
    made += _settings(f"DATABASE {name}", held, wish.settings)
    made += _comment(f"DATABASE {name}", found["comment"], wish.comment)
    return made


def grant_statements(found: Mapping[str, Any], wish: Grants) -> list[Statement]:
    """Return what leaves just `wish` of the privileges `found`: {grantee: [privilege, ...]}.

    Raises:
        ValueError: a privilege that such an object does not have.
    """
    known = _ALL_PRIVILEGES[wish.kind]
    made = []
    for grantee in sorted(set(found) | set(wish.wanted)):
        if grantee == wish.owner:
            continue
        wanted = {p.upper() for p in wish.wanted.get(grantee, frozenset())}
        if unknown := sorted(wanted - known):
            raise ValueError(f"{', '.join(unknown)} cannot be granted on a {wish.kind.lower()}")
        has = set(found.get(grantee, []))
        to = "PUBLIC" if grantee == "PUBLIC" else quote_name(grantee)
        what = f"ON {wish.kind} {wish.name}"
        if surplus := sorted(has - wanted):
            made.append(Statement(f"REVOKE {', '.join(surplus)} {what} FROM {to} CASCADE"))
        if missing := sorted(wanted - has):
            made.append(Statement(f"GRANT {', '.join(missing)} {what} TO {to}"))
    return made


def extension_statements(
    found: Mapping[str, Any] | None, name: str, *, present: bool = True, schema: str | None = None
) -> list[Statement]:
    """Return what makes the extension be there in its newest installed version, or be gone.

    `found`: {"version", "default_version", "schema"}, or None if the database does not have it.
    """
    quoted = quote_name(name)
    if not present:
        # Not CASCADE: what depends on it is somebody's data.
        return [] if found is None else [Statement(f"DROP EXTENSION {quoted}")]
    if found is None:
        where = f" SCHEMA {quote_name(schema)}" if schema else ""
        return [Statement(f"CREATE EXTENSION {quoted}{where}")]
    made = []
    if found["default_version"] not in (None, found["version"]):
        made.append(Statement(f"ALTER EXTENSION {quoted} UPDATE"))
    if schema not in (None, found["schema"]):
        made.append(Statement(f"ALTER EXTENSION {quoted} SET SCHEMA {quote_name(str(schema))}"))
    return made


def quote_name(name: str) -> str:
    """Return `name` as an SQL identifier.

    Raises:
        ValueError: it is empty or has a zero byte, which no identifier can have.
    """
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be a name")
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return `text` as an SQL literal, whatever standard_conforming_strings says.

    Raises:
        ValueError: it has a zero byte.
    """
    if "\0" in text:
        raise ValueError("a text cannot have a zero byte")
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def _settings(
    what: str, found: Mapping[str, str], wanted: Mapping[str, str] | None
) -> list[Statement]:
    if wanted is None:
        return []
    made = [
        Statement(f"ALTER {what} RESET {_setting_name(name)}")
        for name in sorted(set(found) - set(wanted))
    ]
    made += [
        Statement(f"ALTER {what} SET {_setting_name(name)} TO {quote_text(value)}")
        for name, value in sorted(wanted.items())
        if found.get(name) != value
    ]
    return made


def _setting_name(name: str) -> str:
    # casedb.mark is two identifiers, not one with a dot in it.
    return ".".join(quote_name(part) for part in name.split("."))


def _comment(what: str, found: str | None, wanted: str | None) -> list[Statement]:
    if wanted is None or wanted == (found or ""):
        return []
    return [Statement(f"COMMENT ON {what} IS {quote_text(wanted) if wanted else 'NULL'}")]


def _same_time(one: str, other: str | None) -> bool:
    if one == other or {one, other} <= {"infinity", None}:
        return True
    if "infinity" in (one, other) or other is None:
        return False
    first, second = datetime.fromisoformat(one), datetime.fromisoformat(other)
    # A time without a zone is the server's; theirs comes with one.
    return (first if first.tzinfo else first.replace(tzinfo=second.tzinfo)) == second
