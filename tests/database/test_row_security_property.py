"""Random statements of random users, on a real server and on a model of what they may see and do.

PROPERTY_STATEMENTS=100000 pytest -s tests/database/test_row_security_property.py

runs at least so many, with a seed that is printed and can be given as PROPERTY_SEED. Without
it, a small and always equal run of some seconds.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from casedb.audit import verify
from casedb.conninfo import Conninfo
from casedb.database import scalar
from tests.database.row_security_checker import Checker, ViolationError, checking
from tests.database.row_security_model import Model
from tests.database.row_security_pair import pairing
from tests.database.row_security_statements import Form, Maintain, Select, Step, Update
from tests.database.row_security_steps import PAIRS, STEPS, directed
from tests.database.row_security_world import ACTORS, MAINTAINER, USERS

# Read while the test is collected: before each test, conftest.py clears the environment.
WANTED = int(os.environ.get("PROPERTY_STATEMENTS", "0"))
SEED = int(os.environ.get("PROPERTY_SEED", "0")) or secrets.randbelow(2**32)
IN_SMALL = 1500
# Long ones get far into the flow of a case; short ones are what a failure is shortened to.
SEQUENCES = st.lists(STEPS, min_size=1, max_size=5) | st.lists(STEPS, min_size=20, max_size=40)
_AVERAGE = 16
# Two sessions at once, of which each pair takes some ten times as long as two statements.
_PAIR = st.tuples(PAIRS, st.booleans())
MANY_PAIRS = st.lists(_PAIR, min_size=1, max_size=3) | st.lists(_PAIR, min_size=15, max_size=25)
_PAIRS_IN_SMALL = 15


@pytest.fixture(scope="module")
def checker(cluster: Conninfo, template: str) -> Iterator[Checker]:
    with checking(cluster, template, "row_security_property") as checker:
        yield checker


def test_what_a_user_sees_and_changes_is_what_the_model_says(
    checker: Checker, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = WANTED or IN_SMALL
    run = 0

    def sequence(steps: list[Step]) -> None:
        with checker.undone():
            for step in steps:
                checker.check(step)

    begun = checker.steps
    while checker.steps - begun < wanted:
        # Its own numbers for each run, yet the same for the same seed.
        number = SEED + run if WANTED else run
        examples = (wanted - checker.steps + begun) // _AVERAGE + 1
        try:
            seed(number)(
                settings(
                    max_examples=min(examples, 500),
                    deadline=None,
                    database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                )(given(SEQUENCES)(sequence))
            )()
        except BaseException:
            with capsys.disabled():
                print(f"\nrow security property: seed {SEED}, run {run}")
            raise
        run += 1
        if WANTED:
            with capsys.disabled():
                print(f"\nrow security property: {checker.steps - begun} statements, seed {SEED}")


@pytest.fixture(scope="module")
def world(cluster: Conninfo, template: str) -> Model:
    """The rows that are committed in the database `row_security_world`."""
    with checking(cluster, template, "row_security_world") as checker:
        checker.connection.commit()
        return checker.model


def test_two_at_once_do_what_they_would_do_one_after_the_other(
    cluster: Conninfo, world: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []

    @seed(SEED if WANTED else 0)
    @settings(
        max_examples=max(_PAIRS_IN_SMALL, WANTED // 500),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(MANY_PAIRS)
    def sequence(pairs: list[tuple[tuple[Step, Step], bool]]) -> None:
        with pairing(cluster, "row_security_world", "row_security_pair", world) as pair:
            for (first, second), second_commits_first in pairs:
                pair.check(first, second, second_commits_first=second_commits_first)
            done.extend((len(pairs), pair.waits))
            report = verify(pair.watch)
            assert not report.findings, report.findings

    sequence()

    pairs, waits = sum(done[::2]), sum(done[1::2])
    if WANTED:
        with capsys.disabled():
            print(
                f"\nrow security property: {pairs} pairs of sessions, {waits} waited, seed {SEED}"
            )
    # Otherwise nothing was at the same time as anything.
    assert waits > 0


# A chair assigns a case while its caseworker is deactivated: each may succeed, but not both.
WORKER_WITHOUT_CASES = 7
ASSIGNMENT = Step(
    ACTORS[2],
    Update(
        "cases",
        (("status", "ASSIGNED"), ("assigned_to", USERS[WORKER_WITHOUT_CASES].id)),
        Form.ONE,
        2,
    ),
)
ACTIVATION, DEACTIVATION = (
    Step(MAINTAINER, Maintain(WORKER_WITHOUT_CASES, "active", value)) for value in (True, False)
)


@pytest.mark.parametrize("locks", [True, False])
def test_a_race_is_held_off_by_its_lock_and_noticed_without_it(
    cluster: Conninfo, world: Model, locks: bool
) -> None:
    with pairing(cluster, "row_security_world", "row_security_race", world) as pair:
        pair.check(ACTIVATION, Step(ACTORS[0], Select("cases")), second_commits_first=False)
        if not locks:
            guard = scalar(
                pair.watch, "SELECT pg_get_functiondef('ops.guard_case'::regproc)"
            ).replace("FOR SHARE", "")
            pair.watch.execute(guard)
        with nullcontext() if locks else pytest.raises(ViolationError, match="other way round"):
            pair.check(ASSIGNMENT, DEACTIVATION, second_commits_first=False)

    assert pair.waits == int(locks)


def test_every_kind_of_statement_of_everybody_is_what_the_model_says(checker: Checker) -> None:
    for step in directed():
        with checker.undone():
            checker.check(step)
