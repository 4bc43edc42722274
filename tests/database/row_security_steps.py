"""Which steps are tried: random ones, and every kind of step once."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import strategies as st

from tests.database.row_security_statements import (
    BACKSTAGE,
    CHAIR,
    CLERK,
    ENTRIES,
    STATUSES,
    TABLES,
    WORKER,
    Backstage,
    Comment,
    Delete,
    Erase,
    Form,
    InsertCase,
    InsertEntry,
    Maintain,
    Reassign,
    Select,
    Statement,
    Step,
    Truncate,
    Update,
    Upsert,
    Value,
)
from tests.database.row_security_world import ACTORS, CASES, MAINTAINER, UNKNOWN, USERS

VERBS = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]
PEOPLE = st.sampled_from([*(user.id for user in USERS), UNKNOWN])
NUMBERS = st.integers(0, 15)
FORMS = st.sampled_from([Form.ONE, Form.ONE, Form.ALL])
# Those who act in earnest more often than those who may do nothing.
SOMEBODY = st.sampled_from([*ACTORS[:6], *ACTORS[:6], *ACTORS])
TEXTS = st.sampled_from(["x", "y"])

selects = st.builds(
    Select,
    st.sampled_from(TABLES),
    st.sampled_from(Form),
    NUMBERS,
    st.sampled_from(["id"] * 5 + ["password"]),
).filter(lambda s: s.column == "id" or (s.table == "users" and s.form is Form.ALL))
case_changes = st.one_of(
    st.tuples(st.tuples(st.sampled_from(["title", "description"]), TEXTS)),
    st.tuples(st.tuples(st.just("priority"), st.sampled_from(["LOW", "HIGH"]))),
    st.tuples(st.tuples(st.just("status"), st.sampled_from(STATUSES))),
    st.tuples(st.tuples(st.just("assigned_to"), st.none() | PEOPLE)),
    st.tuples(
        st.tuples(st.just("status"), st.sampled_from(["ASSIGNED", "ASSIGNED", *STATUSES])),
        st.tuples(st.just("assigned_to"), st.none() | PEOPLE),
    ),
    st.tuples(st.tuples(st.sampled_from(["created_by", "id"]), PEOPLE)),
)
user_changes = st.one_of(
    st.tuples(st.tuples(st.just("first_name"), TEXTS)),
    st.tuples(st.tuples(st.just("role"), st.sampled_from(["CLERK", "CHAIR"]))),
    st.tuples(st.tuples(st.just("is_active"), st.booleans())),
)
writes = st.one_of(
    st.builds(
        InsertCase,
        PEOPLE,
        st.none() | PEOPLE,
        st.sampled_from(["NEW", "NEW", *STATUSES]),
    ),
    st.builds(InsertEntry, st.sampled_from(list(ENTRIES)), NUMBERS, PEOPLE),
    st.builds(Upsert, st.sampled_from(["cases", *TABLES]), NUMBERS, PEOPLE, st.booleans()),
    st.builds(Update, st.just("cases"), case_changes, FORMS, NUMBERS),
    st.builds(Update, st.just("cases"), case_changes, FORMS, NUMBERS),
    st.builds(Update, st.just("users"), user_changes, FORMS, NUMBERS),
    st.builds(
        Update,
        st.sampled_from(list(ENTRIES)),
        st.tuples(st.tuples(st.just("case_id"), PEOPLE)),
        FORMS,
        NUMBERS,
    ),
    st.builds(Reassign, NUMBERS, PEOPLE, PEOPLE),
    st.builds(Comment, NUMBERS),
    st.builds(Erase, NUMBERS),
    st.builds(Delete, st.sampled_from(TABLES), FORMS, NUMBERS),
    st.builds(Truncate, st.sampled_from(TABLES)),
    st.builds(Backstage, st.sampled_from(list(BACKSTAGE)), st.sampled_from(VERBS)),
)


def in_ones_own_name(step: Step) -> Step:
    """Return `step` with what it inserts in the name of who acts: chance alone seldom is honest."""
    who, new = step.actor.user, step.statement
    if who is None:
        return step
    if isinstance(new, InsertCase):
        return Step(step.actor, InsertCase(who))
    if isinstance(new, InsertEntry):
        return Step(step.actor, InsertEntry(new.table, new.number, who))
    if isinstance(new, Upsert):
        return Step(step.actor, replace(new, by=who))
    return step


maintenance = st.builds(
    Step,
    st.just(MAINTAINER),
    st.one_of(
        st.builds(Maintain, NUMBERS, st.just("active"), st.booleans()),
        st.builds(
            Maintain,
            NUMBERS,
            st.just("role"),
            st.sampled_from(["CLERK", "CHAIR", "CASEWORKER"]),
        ),
    ),
)
anything = st.builds(Step, SOMEBODY, st.one_of(selects, writes, writes))
STEPS = st.one_of(
    anything, anything, anything.map(in_ones_own_name), anything.map(in_ones_own_name), maintenance
)


def _about_case(number: int) -> st.SearchStrategy[Step]:
    """Return what somebody who may act does to one case."""
    workers = st.sampled_from([user.id for user in USERS if user.role == WORKER])
    case = st.just(number)
    statements = st.one_of(
        st.builds(Update, st.just("cases"), case_changes, st.just(Form.ONE), case),
        st.builds(Update, st.just("cases"), case_changes, st.just(Form.ALL), case),
        st.builds(Reassign, case, workers, workers),
        st.builds(Upsert, st.just("cases"), case, PEOPLE, st.just(True)),
        st.builds(Comment, case),
        st.builds(Erase, case),
        st.builds(InsertEntry, st.just("case_documents"), case, PEOPLE),
        st.builds(Select, st.just("cases"), st.just(Form.ONE), case),
    )
    return st.builds(Step, st.sampled_from(ACTORS[:6]), statements).map(in_ones_own_name)


assignments = st.builds(
    Step,
    st.sampled_from(ACTORS[2:4]),
    st.builds(
        Update,
        st.just("cases"),
        st.tuples(
            st.just(("status", "ASSIGNED")),
            st.tuples(st.just("assigned_to"), st.sampled_from([u.id for u in USERS[4:6]])),
        ),
        st.just(Form.ONE),
        st.sampled_from([2, 3, 8]),
    ),
)
# Two at the same time: mostly about the same case, or an assignment while users change.
PAIRS = st.one_of(
    st.tuples(STEPS, STEPS),
    st.integers(0, len(CASES) - 1).flatmap(
        lambda number: st.tuples(_about_case(number), _about_case(number))
    ),
    st.tuples(assignments, assignments),
    st.tuples(assignments, maintenance),
    st.tuples(maintenance, assignments),
    st.tuples(maintenance, maintenance),
)


def directed() -> Iterator[Step]:
    """Yield every kind of statement once for every actor and every row: no luck needed."""
    statements: list[Statement] = [
        Select(table, form) for table in TABLES for form in (Form.ALL, Form.FILTER, Form.JOIN)
    ]
    statements += [Select("cases", Form.ONE, n) for n in range(len(CASES))]
    statements += [Select("cases", Form.SEARCH), Select("users", column="password")]
    people = [user.id for user in USERS[:6]]
    statements += [InsertCase(person) for person in people]
    statements += [InsertCase(people[0], people[4]), InsertCase(people[0], people[4], "ASSIGNED")]
    statements += [
        InsertEntry(table, number, person)
        for table, number, person in product(ENTRIES, (0, 1, 4, 5), people)
    ]
    statements += [
        Update("cases", (("description", "new"),), form, n)
        for form, n in [(Form.ALL, 0), *((Form.ONE, n) for n in range(len(CASES)))]
    ]
    on_a_case: list[tuple[str, Value]] = [
        ("assigned_to", people[5]),
        ("created_by", people[0]),
        ("title", "new"),
    ]
    statements += [
        Update("cases", ((column, value),), Form.ONE, n)
        for n, (column, value) in product((0, 3, 4, 5), on_a_case)
    ]
    statements += [
        Update("cases", (("status", "ASSIGNED"), ("assigned_to", people[4])), Form.ONE, n)
        for n in (2, 3, 4)
    ]
    statements += [
        Reassign(n, people[giver], people[taker])
        for n in (4, 5, 7)
        for giver, taker in ((4, 5), (5, 4))
    ]
    statements += [
        Update("cases", (("status", status),), Form.ONE, n)
        for n, status in product(range(len(CASES)), STATUSES)
    ]
    statements += [
        Update("users", (("first_name", "new"),), form, n)
        for form, n in [(Form.ALL, 0), *((Form.ONE, n) for n in range(6))]
    ]
    on_a_user: list[tuple[str, Value]] = [("role", CHAIR), ("is_active", True)]
    statements += [
        Update("users", ((column, value),), Form.ONE, n)
        for n, (column, value) in product((0, 1), on_a_user)
    ]
    statements += [Update(table, ((by, people[0]),), Form.ALL) for table, by in ENTRIES.items()]
    statements += [Comment(n) for n in (0, 1, 4, 5)] + [Erase(n) for n in (0, 1)]
    statements += [Delete(table, form) for table in TABLES for form in (Form.ALL, Form.ONE)]
    statements += [Truncate(table) for table in TABLES]
    statements += [Backstage(table, verb) for table, verb in product(BACKSTAGE, VERBS)]
    statements += [
        Upsert(table, number, person, update)
        for table, number, person, update in product(TABLES, (0, 1, 4), people[::2], (True, False))
    ]
    for statement, actor in product(statements, ACTORS):
        yield Step(actor, statement)
    for number in range(len(USERS)):
        yield Step(MAINTAINER, Maintain(number, "active", False))
        yield Step(MAINTAINER, Maintain(number, "role", CLERK))
        yield Step(MAINTAINER, Maintain(number, "role", WORKER))
