"""Where the benches' own SQL lies."""

from functools import cache
from pathlib import Path
from typing import LiteralString

FOLDER = Path(__file__).parent / "sql"


@cache
def read_sql(name: str) -> LiteralString:
    """Return the text of one file below benchmarks/sql/, which is as trusted as our code."""
    return (FOLDER / name).read_text("utf-8")
