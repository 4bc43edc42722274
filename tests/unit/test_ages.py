"""Lengths of time, as people write and read them."""

from datetime import timedelta

import pytest

from casedb.ages import format_age, parse_age
from casedb.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("45m", timedelta(minutes=45)),
        ("36h", timedelta(hours=36)),
        (" 14d ", timedelta(days=14)),
        ("8w", timedelta(weeks=8)),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 days", "1.5h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_age(text)


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(days=8, minutes=3), "8d 3m"),
        (timedelta(hours=-1), "0s"),
    ],
)
def test_an_age_is_shown_in_its_largest_two_units(age: timedelta, text: str) -> None:
    assert format_age(age) == text
