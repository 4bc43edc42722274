"""Random statements of random users, on a real server and on a model of what they may see and do.

PROPERTY_STATEMENTS=100000 pytest -s tests/database/test_row_security_property.py

runs at least so many, with a seed that is printed and can be given as PROPERTY_SEED. Without
it, a small and always equal run of some seconds.
"""

import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from casedb.conninfo import Conninfo
from tests.database.row_security_checker import Checker, checking
from tests.database.row_security_statements import Step
from tests.database.row_security_steps import STEPS, directed

# Read while the test is collected: before each test, conftest.py clears the environment.
WANTED = int(os.environ.get("PROPERTY_STATEMENTS", "0"))
SEED = int(os.environ.get("PROPERTY_SEED", "0")) or secrets.randbelow(2**32)
IN_SMALL = 1500
# Long ones get far into the flow of a case; short ones are what a failure is shortened to.
SEQUENCES = st.lists(STEPS, min_size=1, max_size=5) | st.lists(STEPS, min_size=20, max_size=40)
_AVERAGE = 16


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


def test_every_kind_of_statement_of_everybody_is_what_the_model_says(checker: Checker) -> None:
    for step in directed():
        with checker.undone():
            checker.check(step)
