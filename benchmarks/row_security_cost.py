"""What row security costs: each named query under it, and by an exempt role with the rule by hand.

    make bench-rls                      200,000 invented cases on a throwaway server
    make bench-rls CASES=1000000        as many as the target is about
    .venv/bin/python benchmarks/row_security_cost.py --dsn 'host=... dbname=case_management'

Both arms run the same statement in turn, as the busiest user of each role, in one process each.
What counts is that process's time on a processor (where its server is on this Linux machine;
else the time that passed), in the least costly round: whatever else the machine does only adds to
it. Statements are planned each time, as those of the Prisma client are.
Target: at most 1.2. Exit code 9 when one is above it.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from psycopg import Connection, RawCursor

from casedb import migrations, queries
from casedb.acting import Actor, acting_as, busiest_actors
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark
from casedb.query_plans import explain
from casedb.roles import apply_roles
from casedb.seed_volume import seed_volume
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import wheel_tools

TARGET = 1.2
WORDS = "noise complaint"
_LEAST_ROUNDS = 30
# The rule of the policies, as somebody would write it into every query. The ids are literals, which
# are harder to keep up with than the policies' own function.
SOMEBODY = "(SELECT public.current_user_id()) IS NOT NULL"
OWN = {"CLERK": "created_by = '{id}'", "CASEWORKER": "assigned_to = '{id}'", "CHAIR": SOMEBODY}
CHILDREN = ("case_logs", "case_documents", "case_comments")
# Search by hand: the function's own statement, with the reader's rule in it.
SEARCH = """(
    SELECT s.id AS case_id FROM public.cases AS s
    WHERE to_tsvector('pg_catalog.simple', s.title) @@ websearch_to_tsquery('pg_catalog.simple', $1)
      AND (s.created_at, s.id) < (
          coalesce($3::timestamptz, 'infinity'),
          coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      )
    ORDER BY s.created_at DESC, s.id DESC LIMIT $2
)"""


def by_hand(query: queries.NamedQuery, actor: Actor) -> str:
    """Return the statement with the rule of row security written into it."""
    rule = OWN[actor.role].format(id=actor.id)
    text = re.sub(r"public\.find_cases\([^)]*\)", SEARCH, query.sql)
    text = text.replace("public.cases ", f"(SELECT * FROM public.cases WHERE {rule}) ")
    for table in CHILDREN:
        of_case = f"EXISTS (SELECT FROM public.cases AS p WHERE p.id = k.case_id AND p.{rule})"
        condition = rule if actor.role == "CHAIR" else of_case
        text = text.replace(
            f"public.{table} ", f"(SELECT * FROM public.{table} AS k WHERE {condition}) "
        )
    # Colleagues are for everybody who is somebody; without the password, which nobody reads.
    names = f"(SELECT id, role, first_name, last_name FROM public.users WHERE {SOMEBODY}) "
    return text.replace("public.users ", names)


def milliseconds(connection: Connection[Any]) -> float:
    """Return the time that the connection's server process has had a processor, else the clock."""
    try:
        used = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]
    except OSError:
        return time.perf_counter() * 1000
    return int(used) / 1_000_000


def timed(connection: Connection[Any], text: str, values: list[object]) -> tuple[float, int]:
    """Return the milliseconds a statement took, and its number of rows."""
    before = milliseconds(connection)
    rows = RawCursor(connection).execute(text.encode(), values, prepare=False).fetchall()
    return milliseconds(connection) - before, len(rows)


def compare(
    app: Connection[Any],
    exempt: Connection[Any],
    query: queries.NamedQuery,
    actor: Actor,
    seconds: float,
) -> dict[str, object]:
    """Return the least costly rounds in so many seconds, their ratio and the buffers."""
    given: dict[str, object] = {"words": WORDS} if query.name == "search_cases" else {}
    hand = by_hand(query, actor)
    with acting_as(app, actor), acting_as(exempt, None):
        scalar(exempt, "SELECT set_config('app.user_id', %s, true)", str(actor.id))
        for connection in (app, exempt):
            connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        for parameter in query.parameters:
            if parameter.sample and parameter.name not in given:
                given[parameter.name] = scalar(app, parameter.sample)
        values = queries.bind(query, given)
        arms: tuple[list[float], list[float]] = ([], [])
        until = time.monotonic() + seconds
        for round_ in count():
            under, rows = timed(app, query.sql, values)
            without, same = timed(exempt, hand, values)
            assert rows == same, f"{query.name} as {actor.email}: {rows} rows, by hand {same}"
            # The first rounds warm caches and plans.
            if round_ >= 3:
                arms[0].append(under)
                arms[1].append(without)
            if time.monotonic() > until and round_ >= _LEAST_ROUNDS:
                break
        buffers = explain(app, query, given).buffers
    under, without = map(min, arms)
    return {
        "query": query.name,
        "role": actor.role,
        "rows": rows,
        "buffers": buffers,
        "row_security_ms": round(under, 3),
        "by_hand_ms": round(without, 3),
        "ratio": round(under / without, 2),
    }


@contextmanager
def server(dsn: str | None, cases: int) -> Iterator[Conninfo]:
    """Yield a database to measure in: the one named, or a throwaway one with so many cases."""
    if dsn:
        yield Conninfo.parse(dsn)
        return
    settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "random_page_cost": "1.1"}
    with throwaway_cluster(wheel_tools(16), settings=settings) as admin:
        with connect(admin, purpose="bench") as connection:
            connection.execute("CREATE DATABASE case_management")
            set_mark(connection, "case_management", Mark.DEVELOPMENT)
        target = admin.replace(dbname="case_management")
        apply_roles(target)
        migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))
        started = time.monotonic()

        def tell(done: int, total: int) -> None:
            if done % 50_000 == 0:
                passed = time.monotonic() - started
                print(f"{done:,} of {total:,} cases after {passed:.0f} s", file=sys.stderr)

        seed_volume(target.replace(user="case_seed"), cases=cases, seed=1, on_block=tell)
        with connect(target, purpose="bench") as connection:
            connection.execute("VACUUM ANALYZE")
        yield target


def main() -> int:
    """Measure, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="For each query and role.")
    parser.add_argument("--dsn", help="A database that is there already, vacuumed and analysed.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        server(options.dsn, options.cases) as target,
        connect(target.replace(user="case_readonly"), purpose="bench") as exempt,
        connect(target.replace(user="case_app"), purpose="bench") as app,
    ):
        total = scalar(exempt, "SELECT count(*) FROM public.cases")
        found = [
            compare(app, exempt, queries.load(name), actor, options.seconds)
            for name in queries.names()
            for actor in busiest_actors(exempt)
        ]
    if options.json:
        print(json.dumps({"cases": total, "target": TARGET, "found": found}, indent=2))
    else:
        print(f"{total:,} cases, the least of {options.seconds:g} s, as the busiest user\n")
        heads = ("query", "role", "rows", "buffers", "RLS ms", "by hand", "ratio")
        print("{:15} {:11} {:>5} {:>8} {:>9} {:>9} {:>5}".format(*heads))
        for row in found:
            print(
                f"{row['query']:15} {row['role']:11} {row['rows']:5} {row['buffers']:8} "
                f"{row['row_security_ms']:9} {row['by_hand_ms']:9} {row['ratio']:5}"
            )
    return 9 if any(float(str(row["ratio"])) > TARGET for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
