"""What row security costs: each named query under it, and by an exempt role with the rule by hand.

Both arms run the same statement in turn, as the busiest user of each role, in one process each.
What counts is that process's time on a processor (where its server is on this Linux machine; else
the time that passed): whatever else the machine does hardly adds to it. Statements are planned each
time, as those of the Prisma client are.
"""

import re
import time
from itertools import count
from pathlib import Path
from typing import Any

from psycopg import Connection, RawCursor

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import Figure, target_of
from benchmarks.rounds import percentile
from benchmarks.site import Site
from benchmarks.statements import read_sql
from casedb import queries
from casedb.acting import Actor, acting_as, busiest_actors
from casedb.database import connect, scalar
from casedb.errors import DifferenceError
from casedb.query_plans import explain

WORST = "p95 under row security, of the rule by hand: the worst"
DEEP = "chair's page at depth, of page one"
SECONDS = 4.0
"""For each query and role."""
DEPTH = 500_000
WORDS = "noise complaint"
_LEAST_ROUNDS = 30
# The first rounds warm caches and plans.
_WARMING = 3
# The rule of the policies, as somebody would write it into every query. The ids are literals, which
# are harder to keep up with than the policies' own function.
SOMEBODY = "(SELECT public.current_user_id()) IS NOT NULL"
OWN = {"CLERK": "created_by = '{id}'", "CASEWORKER": "assigned_to = '{id}'", "CHAIR": SOMEBODY}
CHILDREN = ("case_logs", "case_documents", "case_comments")


def by_hand(query: queries.NamedQuery, actor: Actor) -> str:
    """Return the statement with the rule of row security written into it."""
    rule = OWN[actor.role].format(id=actor.id)
    # Search by hand: the function's own statement, with the reader's rule in it.
    text = re.sub(r"public\.find_cases\([^)]*\)", lambda _: read_sql("search.sql"), query.sql)
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
) -> Figure:
    """Return the ratio of both arms' p95."""
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
        for number in count():
            under, rows = timed(app, query.sql, values)
            without, same = timed(exempt, hand, values)
            if rows != same:
                raise DifferenceError(
                    f"{query.name} as {actor.role}: {rows} rows, and {same} with the rule by hand"
                )
            if number >= _WARMING:
                arms[0].append(under)
                arms[1].append(without)
            if time.monotonic() > until and number >= _LEAST_ROUNDS:
                break
        buffers = explain(app, query, given).buffers
    under, without = (percentile(arm, 0.95) for arm in arms)
    halves = [_ratio(arms[0][i::2], arms[1][i::2]) for i in (0, 1)]
    return Figure(
        name=f"{query.name} as {actor.role}",
        value=under / without,
        noise=abs(halves[0] - halves[1]),
        note=f"{under:.2f} ms, {without:.2f} by hand; {rows} rows, {buffers} buffers, "
        f"{len(arms[0])} times",
    )


def _ratio(over: list[float], under: list[float]) -> float:
    return percentile(over, 0.95) / percentile(under, 0.95)


def deep_page(app: Connection[Any], exempt: Connection[Any], chair: Actor) -> Figure:
    """Return what the chair's page of open cases costs far down, against the first one."""
    query = queries.load("my_open_cases")
    cases = int(scalar(exempt, "SELECT count(*) FROM public.cases"))
    depth = min(DEPTH, cases // 2)
    at = exempt.execute(read_sql("case-at-depth.sql"), (depth,)).fetchone()
    assert at is not None
    pages = [{}, {"after_time": at[0], "after_id": str(at[1])}]
    arms: tuple[list[float], list[float]] = ([], [])
    sizes = [0, 0]
    with acting_as(app, chair):
        for number in range(_WARMING + 200):
            for page, given in enumerate(pages):
                took, sizes[page] = timed(app, query.sql, queries.bind(query, given))
                if number >= _WARMING:
                    arms[page].append(took)
    first, deep = (percentile(arm, 0.95) for arm in arms)
    return Figure(
        name=DEEP,
        value=deep / first,
        noise=abs(_ratio(arms[1][::2], arms[0][::2]) - _ratio(arms[1][1::2], arms[0][1::2])),
        target=target_of(DEEP, BENCH.targets),
        note=f"p95 {first:.2f} ms, and {deep:.2f} ms behind {depth:,} cases; "
        f"{sizes[0]} and {sizes[1]} rows",
    )


def measure(site: Site) -> Found:
    """Measure."""
    target = site.filled.target
    with (
        connect(target.replace(user="case_readonly"), purpose="bench") as exempt,
        connect(target.replace(user="case_app"), purpose="bench") as app,
    ):
        actors = busiest_actors(exempt)
        found = []
        for name in queries.names():
            for actor in actors:
                site.tell(f"{name} as {actor.role}")
                seconds = SECONDS if site.cases >= 50_000 else SECONDS / 10
                found.append(compare(app, exempt, queries.load(name), actor, seconds))
        chair = next(actor for actor in actors if actor.role == "CHAIR")
        deep = deep_page(app, exempt, chair)
    worst = max(found, key=lambda figure: figure.value)
    summary = Figure(
        name=WORST,
        value=worst.value,
        noise=worst.noise,
        target=target_of(WORST, BENCH.targets),
        note=worst.name,
    )
    return Found((), [summary, deep, *found], ["milliseconds of the server process's CPU"])


BENCH = Bench(
    "queries",
    "What does row security cost the named queries?",
    measure,
    minutes=2,
    targets=(at_most(WORST, 1.2), at_most(DEEP, 1.5)),
)
