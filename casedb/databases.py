"""Databases of a server: whether one is there, and how one comes into being whole."""

from psycopg import sql

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark


def exists(admin: Conninfo, name: str) -> bool:
    """Whether the server has a database called `name`."""
    with connect(admin, purpose="databases") as connection:
        query = "SELECT true FROM pg_database WHERE datname = %s"
        return bool(scalar(connection, query, name))


def create_marked(admin: Conninfo, name: str, mark: Mark) -> bool:
    """Create an empty database that carries `mark`; return False if there is one already.

    It gets its name last: a run killed half-way leaves no database that counts as production
    because its mark is missing.
    """
    if exists(admin, name):
        return False
    making = sql.Identifier(f"{name}_making")
    with connect(admin, purpose="create database") as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(making))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(making))
        set_mark(connection, f"{name}_making", mark)
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(making, sql.Identifier(name))
        )
    return True
