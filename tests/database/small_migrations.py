"""Two small migrations, and what is left of them in a database."""

from collections.abc import Callable

from casedb.conninfo import Conninfo
from casedb.database import connect

Write = Callable[..., None]
TREES = "CREATE TABLE public.trees (id int);"
LEAVES = "-- depends: 0001-create-trees\nCREATE TABLE public.leaves (id int);"


def tables(target: Conninfo) -> list[str]:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        return [name for (name,) in rows.fetchall()]
