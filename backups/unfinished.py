"""Unfinished restores, by the names of their databases. Pure."""

import re
from collections.abc import Iterable

from psycopg import sql

from backups.restore_refusals import NAME_MAX_BYTES

RANDOM_CHARS = 6
"""At the end of the name of an unfinished restore."""
_SUFFIX = "_restoring_"


def temporary_head(database: str) -> str:
    """Return how the name of an unfinished restore of `database` begins.

    >>> temporary_head("cases")
    'cases_restoring_'
    """
    room = NAME_MAX_BYTES - len(_SUFFIX) - RANDOM_CHARS
    return database.encode()[:room].decode(errors="ignore") + _SUFFIX


def debris(databases: Iterable[str], database: str) -> list[str]:
    """Return which of `databases` are unfinished restores of `database`.

    >>> debris(["cases", "cases_restoring_0a1b2c", "cases_restoring_house"], "cases")
    ['cases_restoring_0a1b2c']
    """
    head = re.escape(temporary_head(database))
    pattern = re.compile(rf"{head}[0-9a-f]{{{RANDOM_CHARS}}}")
    return sorted(name for name in databases if pattern.fullmatch(name))


def drop_statement(name: str) -> sql.Composed:
    """Return the statement that removes an unfinished restore, whoever is connected to it."""
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
