"""A volume of small blocks, and what of a database is compared with another that has it."""

from typing import Any, LiteralString

from psycopg import Connection

from casedb import seed_volume
from casedb.conninfo import Conninfo

BLOCK = 100
TABLES = ("users", "cases", "case_logs", "case_documents")


def load(target: Conninfo, cases: int = 250, seed: int = 1) -> seed_volume.VolumeResult:
    return seed_volume.seed_volume(target, cases=cases, seed=seed)


def content(connection: Connection[Any]) -> dict[str, tuple[Any, ...]]:
    """Of each table the number of rows, and a hash that no order of rows changes."""
    connection.execute("SET TimeZone = 'UTC'")
    query: LiteralString = (
        "SELECT count(*), bit_xor(hashtextextended(t::text, 0)), "
        "sum(hashtextextended(t::text, 1)::numeric) FROM public.{} AS t"
    )
    found = {}
    for table in TABLES:
        row = connection.execute(query.replace("{}", table).encode()).fetchone()
        assert row is not None
        found[table] = row
    return found
