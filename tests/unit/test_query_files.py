"""The heads of the named queries: what is read from them, and what is refused."""

from datetime import UTC, datetime

import pytest

from casedb import queries
from casedb.errors import ConfigurationError, UsageError
from casedb.queries import Budget, Column, ParameterType
from casedb.query_plans import SMALL_TABLE_PAGES, judge

TEXT = """\
-- What it answers,
-- in two lines.
--
-- @param {Int} $1:page_size Rows on a page.
-- @param {DateTime} $2:after_time? Of the last row.
-- @param {String} $3:case_id Which case.
-- @default page_size 50
-- @sample case_id SELECT 1
-- @next after_time created_at
-- @column id uuid
-- @column created_at timestamptz
-- @budget no sequential scan on cases, case_logs
-- @budget at most 200 buffers

-- Not of the head.
SELECT 1
"""
QUERY = queries.parse("example", TEXT)


def test_everything_in_the_head_is_read() -> None:
    size, after, case = QUERY.parameters

    assert QUERY.description == "What it answers, in two lines."
    assert (size.type, size.nullable, size.default) == (ParameterType.INT, False, "50")
    assert (after.type, after.nullable) == (ParameterType.DATE_TIME, True)
    assert (case.sample, case.description) == ("SELECT 1", "Which case.")
    assert QUERY.columns == (Column("id", "uuid"), Column("created_at", "timestamptz"))
    assert QUERY.budget == Budget(("cases", "case_logs"), 200)
    assert QUERY.next_page == {"after_time": "created_at"}


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("@budget at most 200 buffers", "@budget at most 200 milliseconds"),
        ("@budget at most 200 buffers", "@bugdet at most 200 buffers"),
        ("@default page_size 50", "@default page 50"),
        ("@next after_time created_at", "@next after_time updated_at"),
        ("$2:after_time?", "$3:after_time?"),
        ("{Int}", "{Integer}"),
    ],
)
def test_a_head_that_says_something_else_is_refused(line: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match="example"):
        queries.parse("example", TEXT.replace(line, instead))


def test_values_are_bound_by_name_and_typed() -> None:
    given = {"case_id": "x", "page_size": "7", "after_time": "2025-06-30T12:00:00+02:00"}

    assert queries.bind(QUERY, given) == [7, datetime(2025, 6, 30, 10, tzinfo=UTC), "x"]
    assert queries.bind(QUERY, {"case_id": "x"}) == [50, None, "x"]


def test_a_time_without_a_zone_is_utc_wherever_one_is() -> None:
    bound = queries.bind(QUERY, {"case_id": "x", "after_time": "2025-06-30"})

    assert bound[1] == datetime(2025, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "given",
    [{}, {"case_id": "x", "pagesize": 1}, {"case_id": "x", "page_size": "many"}],
    ids=["missing", "unknown", "not a number"],
)
def test_a_parameter_that_is_wrong_is_said_before_anything_runs(given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        queries.bind(QUERY, given)


def test_a_name_may_be_written_with_hyphens_and_a_wrong_one_gets_advice() -> None:
    assert queries.load("my-open-cases").name == "my_open_cases"
    with pytest.raises(UsageError) as caught:
        queries.load("my_open_case")
    assert "my_open_cases" in (caught.value.hint or "")


@pytest.mark.parametrize("name", queries.names())
def test_the_head_of_each_query_can_be_read(name: str) -> None:
    query = queries.load(name)

    assert query.description
    assert query.columns
    # TypedSQL makes a JavaScript function of each file.
    assert name.isidentifier()


def test_a_budget_is_missed_by_a_scan_or_by_too_many_buffers() -> None:
    assert judge(QUERY, scanned_pages={}, buffers=200) == ((), ())
    assert len(judge(QUERY, scanned_pages={"cases": 1000}, buffers=201)[0]) == 2


def test_a_scan_of_a_tiny_table_is_no_miss_but_a_note() -> None:
    missed, notes = judge(QUERY, scanned_pages={"cases": SMALL_TABLE_PAGES}, buffers=5)

    assert not missed
    assert len(notes) == 1
