"""globals.sql: pg_dumpall's roles as a script that changes no role of the server it is run on.

pg_dumpall writes CREATE ROLE and ALTER ROLE for each, the superuser included. On a server that has
some of them that locks out who runs it, and lets in again who was put out meanwhile.
"""

import re

from psycopg import sql

from casedb.sqlfiles import read_sql

_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
# As pg_dumpall writes them: comments and psql's own lines between statements, and never inside.
_STATEMENT = re.compile(
    r"(?P<between>(?:\s|--[^\n]*|\\[^\n]*)*+)"
    r"""(?P<statement>(?:\bE'(?:[^'\\]|\\.|'')*+'|'(?:[^']|'')*+'|"(?:[^"]|"")*+"|[^;'"])++;)""",
    re.DOTALL,
)
_MADE = re.compile(rf"CREATE ROLE (?P<role>{_NAME});")
_CHANGED = re.compile(
    rf"(?:ALTER ROLE|COMMENT ON ROLE|SECURITY LABEL FOR {_NAME} ON ROLE) (?P<role>{_NAME}) .*;",
    re.DOTALL,
)
_MEMBERSHIP = re.compile(
    rf"(?P<words>GRANT (?P<role>{_NAME}) TO (?P<member>{_NAME})(?: WITH [A-Z, ]+?)?)"
    rf"(?: GRANTED BY (?P<grantor>{_NAME}))?;"
)
_PARAMETER = re.compile(
    rf"(?:GRANT|REVOKE) [A-Z, ]+ ON PARAMETER {_NAME} (?:TO|FROM) (?P<role>{_NAME}|PUBLIC)"
    r"(?: WITH GRANT OPTION)?;"
)


def sparing(script: str, *, bootstrap_superuser: str) -> str:
    """Return what pg_dumpall wrote so that roles that are there stay as they are.

    `bootstrap_superuser` is the first one of the server it was written on: on another one he has
    another name, and since PostgreSQL 16 only he may grant in his own name without being an admin
    of the role. What he granted is granted by whoever runs the script.
    """
    parts: list[str] = []
    end, begun = 0, False
    for found in _STATEMENT.finditer(script):
        parts += [script[end : found.start()], found["between"]]
        # The settings of the session come first, and hold for the transaction as well.
        if not begun and not found["statement"].startswith("SET "):
            parts.append(read_sql("catalog/spare-roles.sql"))
            begun = True
        parts.append(_spared(found["statement"], bootstrap_superuser))
        end = found.end()
    return "".join([*parts, "\n\nCOMMIT;" if begun else "", script[end:]])


def _spared(statement: str, bootstrap_superuser: str) -> str:
    """Return `statement` as a call of what sql/catalog/spare-roles.sql has for its kind."""
    if found := _MADE.fullmatch(statement):
        return _call("make_role", _plain(found["role"]), statement)
    if found := _CHANGED.fullmatch(statement):
        return _call("change_role", _plain(found["role"]), statement)
    if found := _PARAMETER.fullmatch(statement):
        return _call("grant_parameter", _plain(found["role"]), statement)
    if found := _MEMBERSHIP.fullmatch(statement):
        grantor = _plain(found["grantor"]) if found["grantor"] else bootstrap_superuser
        return _call(
            "grant_role",
            _plain(found["role"]),
            _plain(found["member"]),
            None if grantor == bootstrap_superuser else grantor,
            found["words"],
        )
    return statement


def _plain(name: str) -> str:
    r"""Return the name that SQL writes as `name`.

    >>> _plain('"a ""b"" c"'), _plain("PUBLIC"), _plain("app")
    ('a "b" c', 'public', 'app')
    """
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _call(procedure: str, *values: str | None) -> str:
    r"""Return the call. Text in it is a literal, which nothing that a role is called can end.

    >>> _call("make_role", "it's", "CREATE ROLE x;"), _call("grant_role", None)
    ("CALL pg_temp.make_role('it''s', 'CREATE ROLE x;');", 'CALL pg_temp.grant_role(NULL);')
    """
    words = ", ".join(sql.Literal(value).as_string().strip() for value in values)
    return f"CALL pg_temp.{procedure}({words});"
