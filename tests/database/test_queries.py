"""The named queries on 20,000 cases: what they return, to whom, page by page, and by which plan."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection, sql

from casedb import queries
from casedb.acting import Actor, acting_as, busiest_actors
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark
from casedb.query_plans import explain
from casedb.roles import apply_roles
from casedb.seed_volume import seed_volume

NAMES = queries.names()
ROLES = ["CLERK", "CHAIR", "CASEWORKER"]
MY_OPEN = queries.load("my_open_cases")
SEARCH = queries.load("search_cases")
PAGED = [name for name in NAMES if queries.load(name).next_page]
HASH = "$2b$10$" + "a" * 53


@pytest.fixture(scope="module")
def volume(cluster: Conninfo, template: str) -> Iterator[Conninfo]:
    """The superuser's conninfo of a database with 20,000 cases, vacuumed and analysed."""
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE queries TEMPLATE {}").format(sql.Identifier(template))
        )
        set_mark(connection, "queries", Mark.DEVELOPMENT)
    target = cluster.replace(dbname="queries")
    apply_roles(target)
    seed_volume(target.replace(user="case_seed"), cases=20_000, seed=1)
    with connect(target, purpose="test") as connection:
        connection.execute("VACUUM ANALYZE")
    yield target
    with connect(cluster, purpose="test") as connection:
        connection.execute("DROP DATABASE queries WITH (FORCE)")


@pytest.fixture(scope="module")
def busiest(volume: Conninfo) -> dict[str, Actor]:
    """Of each role the user with the most cases."""
    with connect(volume.replace(user="case_readonly"), purpose="test") as reader:
        return {actor.role: actor for actor in busiest_actors(reader)}


@pytest.fixture
def app(volume: Conninfo) -> Iterator[Connection[Any]]:
    """The back end's connection."""
    with connect(volume.replace(user="case_app"), purpose="test") as connection:
        yield connection


@pytest.fixture
def admin(volume: Conninfo) -> Iterator[Connection[Any]]:
    """The superuser's connection, in a transaction that is rolled back."""
    with (
        connect(volume, purpose="test") as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection


def given_for(name: str) -> dict[str, object]:
    """What the query cannot do without."""
    return {"words": "noise complaint"} if name == "search_cases" else {}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", NAMES)
def test_each_query_as_each_role_uses_an_index_and_keeps_its_budget(
    app: Connection[Any], busiest: dict[str, Actor], name: str, role: str
) -> None:
    with acting_as(app, busiest[role]):
        report = explain(app, queries.load(name), given_for(name))

    assert report.within_budget, "\n".join((*report.missed, *report.plan))
    assert report.indexes, report.plan
    # Nobody has commented yet; everything else is large enough to be judged.
    assert not [note for note in report.notes if not note.startswith("case_comments")]
    assert report.role == f"case_{role.lower()}"


@pytest.mark.parametrize("name", NAMES)
def test_each_query_keeps_its_budget_for_the_role_that_sees_everything(
    volume: Conninfo, name: str
) -> None:
    with (
        connect(volume.replace(user="case_readonly"), purpose="test") as reader,
        acting_as(reader, None),
    ):
        report = explain(reader, queries.load(name), given_for(name))

    assert report.within_budget, "\n".join((*report.missed, *report.plan))


@pytest.mark.parametrize(
    ("role", "column"), [("CLERK", "created_by"), ("CASEWORKER", "assigned_to")]
)
def test_whoever_reads_one_case_looks_it_up_and_whoever_reads_the_log_reads_his_cases_once(
    volume: Conninfo, app: Connection[Any], role: str, column: str
) -> None:
    # The fewer cases somebody has, the cheaper a hash of them looks.
    fewest = (
        "SELECT {0} FROM public.cases WHERE {0} IS NOT NULL GROUP BY 1 ORDER BY count(*) LIMIT 1"
    )
    with connect(volume, purpose="test") as connection:
        # An index alone answers only where all of a page is visible to everybody.
        connection.execute("VACUUM public.cases")
        row = connection.execute(sql.SQL(fewest).format(sql.Identifier(column))).fetchone()
    assert row is not None
    with acting_as(app, Actor(row[0], "", role)):
        # As on a host of ours: index pages are cheap there, and so is a hash of what an index has.
        app.execute("SET LOCAL random_page_cost = 1.1")
        one = explain(app, queries.load("case_file"), {})
        log = app.execute("EXPLAIN SELECT count(*) FROM public.case_logs").fetchall()

    # Of the log, the documents and the comments: each looks at the case by its key.
    assert not [line for line in one.plan if "hashed SubPlan" in line], "\n".join(one.plan)
    assert sum("Index Scan using cases_pkey" in line for line in one.plan) == 4
    # Row by row it would take ten times as long.
    assert [line for (line,) in log if "hashed SubPlan" in line], log


@pytest.mark.parametrize("name", ["my_open_cases", "search_cases"])
def test_a_lost_index_misses_the_budget_also_inside_a_function(
    admin: Connection[Any], busiest: dict[str, Actor], name: str
) -> None:
    indexes = admin.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'cases' AND indexname <> 'cases_pkey'"
    ).fetchall()
    for (index,) in indexes:
        admin.execute(sql.SQL("DROP INDEX public.{}").format(sql.Identifier(index)))
    scalar(admin, "SELECT public.act_as(%s)", str(busiest["CHAIR"].id))

    report = explain(admin, queries.load(name), given_for(name))

    assert not report.within_budget
    assert "cases was read from end to end" in report.missed[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_what_the_head_says(
    app: Connection[Any], busiest: dict[str, Actor], name: str
) -> None:
    query = queries.load(name)
    with acting_as(app, busiest["CHAIR"]):
        samples = {p.name: scalar(app, p.sample) for p in query.parameters if p.sample is not None}
        answer = queries.run(app, query, {**samples, **given_for(name)})

    assert answer.columns == query.columns
    assert answer.rows


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", PAGED)
def test_the_pages_together_are_the_whole(
    app: Connection[Any], busiest: dict[str, Actor], name: str, role: str
) -> None:
    query = queries.load(name)
    with acting_as(app, busiest[role]):
        whole = queries.run(app, query, {**given_for(name), "page_size": 1_000_000}).rows
        size = max(1, len(whole) // 7)
        found = [
            page.rows for page in queries.pages(app, query, {**given_for(name), "page_size": size})
        ]

    assert [row for page in found for row in page] == whole
    assert max(map(len, found)) <= size


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("words", ["noise", "noise or smell", '"mill lane" -complaint', "zzz", ""])
def test_search_finds_exactly_what_row_security_shows(
    app: Connection[Any], busiest: dict[str, Actor], role: str, words: str
) -> None:
    with acting_as(app, busiest[role]):
        visible = app.execute(
            "SELECT id FROM public.cases"
            " WHERE to_tsvector('simple', title) @@ websearch_to_tsquery('simple', %s)",
            (words,),
        ).fetchall()
        found = app.execute(
            "SELECT case_id FROM public.find_cases(%s, 1000000, NULL, NULL)", (words,)
        ).fetchall()
        answer = queries.run(app, SEARCH, {"words": words, "page_size": 1_000_000})

    assert sorted(found) == sorted(visible)
    assert sorted((row[0],) for row in answer.rows) == sorted(visible)
    assert bool(visible) == (words not in ("zzz", ""))


@pytest.mark.parametrize("role", ["case_clerk", "case_chair", "case_caseworker"])
def test_search_finds_nothing_without_an_identity(app: Connection[Any], role: str) -> None:
    with app.transaction(force_rollback=True):
        app.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))

        assert not queries.run(app, SEARCH, {"words": "noise"}).rows


def test_a_case_comes_with_its_whole_log_in_the_order_of_its_chain(
    app: Connection[Any], busiest: dict[str, Actor], volume: Conninfo
) -> None:
    with connect(volume, purpose="test") as connection:
        case_id = scalar(
            connection,
            "SELECT d.case_id FROM public.case_documents AS d JOIN public.cases AS c"
            " ON c.id = d.case_id WHERE c.status = 'COMPLETED' LIMIT 1",
        )
        log = connection.execute(
            "SELECT id::text, action FROM public.case_logs WHERE case_id = %s ORDER BY seq",
            (case_id,),
        ).fetchall()
        documents = scalar(
            connection, "SELECT count(*) FROM public.case_documents WHERE case_id = %s", case_id
        )
    with acting_as(app, busiest["CHAIR"]):
        answer = queries.run(app, queries.load("case_file"), {"case_id": str(case_id)})

    row = dict(zip((c.name for c in answer.columns), answer.rows[0], strict=True))
    assert [(entry["id"], entry["action"]) for entry in row["log"]] == log
    assert len(row["documents"]) == documents > 0
    assert all(entry["user_name"].strip() for entry in row["log"])


def test_a_case_that_one_may_not_see_is_not_there(
    app: Connection[Any], busiest: dict[str, Actor], volume: Conninfo
) -> None:
    clerk = busiest["CLERK"]
    with connect(volume, purpose="test") as connection:
        others = scalar(
            connection, "SELECT id FROM public.cases WHERE created_by <> %s LIMIT 1", clerk.id
        )
    with acting_as(app, clerk):
        assert not queries.run(app, queries.load("case_file"), {"case_id": str(others)}).rows


def test_workload_and_ageing_count_what_is_there(
    app: Connection[Any], busiest: dict[str, Actor], volume: Conninfo
) -> None:
    with acting_as(app, busiest["CHAIR"]):
        workload = queries.run(app, queries.load("workload"), {}).rows
        ageing = queries.run(app, queries.load("ageing"), {}).rows
    with connect(volume, purpose="test") as connection:
        by_status = dict(
            connection.execute("SELECT status::text, count(*) FROM public.cases GROUP BY 1")
        )
        workers = scalar(connection, "SELECT count(*) FROM public.users WHERE role = 'CASEWORKER'")

    assigned, in_progress, pending, everything = (
        sum(row[column] for row in workload) for column in (3, 4, 5, 6)
    )
    assert (assigned, in_progress, pending) == tuple(
        by_status[status] for status in ("ASSIGNED", "IN_PROGRESS", "PENDING_COMPLETION")
    )
    assert everything == assigned + in_progress + pending
    assert len(workload) == workers
    assert {row[0]: row[1] for row in ageing} == {
        status: count for status, count in by_status.items() if status != "COMPLETED"
    }
    assert all(row[1] == sum(row[2:6]) for row in ageing)


# A moment for each case, out of very few: most of them are equal.
MOMENTS = st.lists(st.integers(0, 3), min_size=0, max_size=25)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(there=MOMENTS, arriving=MOMENTS, page_size=st.integers(1, 12))
def test_paging_loses_no_row_and_repeats_none_while_others_are_inserted(
    volume: Conninfo, there: list[int], arriving: list[int], page_size: int
) -> None:
    """Equal milliseconds, the id to tell them apart, and rows that arrive between the pages."""
    with (
        connect(volume, purpose="test") as connection,
        connection.transaction(force_rollback=True),
    ):
        clerk, other = new_clerk(connection, "one"), new_clerk(connection, "two")
        before = {add_case(connection, clerk, moment) for moment in there}
        seen: list[UUID] = []
        new = iter(arriving)
        page_given: Mapping[str, object] | None = {"page_size": page_size}
        while page_given is not None:
            scalar(connection, "SELECT public.act_as(%s)", str(clerk))
            page = queries.run(connection, MY_OPEN, page_given)
            seen += [row[0] for row in page.rows]
            # A JavaScript client keeps milliseconds and no more.
            assert all(row[6].microsecond % 1000 == 0 for row in page.rows)
            page_given = page.next_page and {"page_size": page_size, **page.next_page}
            connection.execute("SET LOCAL ROLE NONE")
            for who, moment in zip((clerk, other), new, strict=False):
                add_case(connection, who, moment)

    assert before <= set(seen)
    assert len(seen) == len(set(seen))


def new_clerk(connection: Connection[Any], name: str) -> UUID:
    return UUID(
        str(
            scalar(
                connection,
                "INSERT INTO public.users (email, password, role, first_name, last_name)"
                " VALUES (%s, %s, 'CLERK', 'a', 'b') RETURNING id",
                f"{name}@paging.example.com",
                HASH,
            )
        )
    )


def add_case(connection: Connection[Any], clerk: UUID, moment: int) -> UUID:
    found = scalar(
        connection,
        "INSERT INTO public.cases (id, title, description, created_by, created_at) VALUES"
        " (gen_random_uuid(), 'n', '', %s, timestamptz '2025-01-01Z' + %s * interval '1 ms')"
        " RETURNING id",
        clerk,
        moment,
    )
    return UUID(str(found))
