"""Values of libpq's words that no server can have, refused by the same rules as libpq's own."""

import pytest
from psycopg import pq
from psycopg.conninfo import make_conninfo

from casedb.conninfo_values import CHOICES, NUMBERS, require_sound
from casedb.errors import ConfigurationError


def is_refused_by_libpq(word: str, value: str) -> bool:
    """Ask libpq, on a port where nobody listens: it looks at its words before it looks there."""
    words = {"host": "127.0.0.1", "port": "1", "user": "u", "password": "p", word: value}
    said = pq.PGconn.connect(make_conninfo("", **words).encode()).error_message.decode()
    return not any(sign in said for sign in ("refused", "weak sslmode", "GSSAPI"))


def is_refused(word: str, value: str) -> bool:
    try:
        require_sound({word: value}, lambda _word: "here")
    except ConfigurationError:
        return True
    return False


@pytest.mark.parametrize("word", CHOICES)
def test_what_may_be_chosen_is_what_libpq_lets_choose(word: str) -> None:
    for value in (*CHOICES[word], CHOICES[word][0].upper(), "abc", ""):
        assert is_refused(word, value) == is_refused_by_libpq(word, value), value


@pytest.mark.parametrize("word", NUMBERS)
def test_what_has_to_be_a_number_is_what_libpq_reads_as_one(word: str) -> None:
    for value in ("3", " 3 ", "+3", "2.5", "abc", "3s", "", "99999999999"):
        assert is_refused(word, value) == is_refused_by_libpq(word, value), value


@pytest.mark.parametrize("value", ["1", "65534", "", " 1 ", "abc", "1x", "0", "65536", "-1"])
def test_a_port_is_what_libpq_takes_for_one(value: str) -> None:
    assert is_refused("port", value) == is_refused_by_libpq("port", value)


def test_several_hosts_may_have_a_port_each() -> None:
    assert not is_refused("port", "5432,,5433")
    assert is_refused("port", "5432,abc")


def test_the_error_names_the_word_and_where_it_was_said_and_not_its_value() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_sound(
            {"host": "db1", "port": "abc"}, {"port": "PGPORT", "host": "PGHOST"}.__getitem__
        )

    assert caught.value.message == "port has to be a number from 1 to 65535"
    assert "PGPORT" in (caught.value.detail or "")
    assert caught.value.hint == "Correct PGPORT."
    assert "abc" not in str(caught.value)
