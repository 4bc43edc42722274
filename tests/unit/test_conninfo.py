"""Words in, words out, and no password in sight."""

import pytest

from casedb.conninfo import Conninfo, redact
from casedb.errors import ConfigurationError

SECRET = "hush-hush"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:{SECRET}@db1:5432/cases",
        f"postgresql+psycopg://app:{SECRET}@/cases?host=/run/postgresql",
        f"host=db1 password={SECRET} user=app",
        f"host=db1 password = '{SECRET}' user=app",
        rf"host=db1 password='it\'s {SECRET}' user=app",
        f"PGPASSWORD={SECRET} psql",
        f"ALTER ROLE app PASSWORD '{SECRET}'",
        f"password: {SECRET}",
        f"DB_PASSWORD={SECRET}",
        f"SCRAM-SHA-256$4096:{SECRET}==$abc:def=",
    ],
)
def test_a_password_is_masked_in_whatever_form_it_comes(text: str) -> None:
    assert SECRET not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "app"',
        "passfile=/home/app/.pgpass host=db1",
        "fe_sendauth: no password supplied",
    ],
)
def test_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_a_conninfo_never_shows_its_password() -> None:
    target = Conninfo.parse(f"host=db1 user=app password={SECRET}")

    assert SECRET not in f"{target} {target!r}"
    assert SECRET in target.dsn


def test_prismas_own_parameters_are_left_out_of_a_database_url() -> None:
    url = "postgresql://app:p%40ss@db1:6432/cases?schema=public&pgbouncer=true&sslmode=require"

    assert Conninfo.from_database_url(url).words == {
        "host": "db1",
        "port": "6432",
        "user": "app",
        "password": "p@ss",
        "dbname": "cases",
        "sslmode": "require",
    }


def test_an_unreadable_conninfo_is_a_configuration_error_that_tells_no_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Conninfo.parse(f"host=db1 password={SECRET} nonsense")

    assert SECRET not in str(caught.value)


def test_a_word_is_replaced_added_and_taken_out() -> None:
    target = Conninfo({"host": "a", "user": "u"}).replace(host="b", port=5433, user=None)

    assert target.words == {"host": "b", "port": "5433"}


def test_a_child_process_gets_the_words_by_its_environment() -> None:
    target = Conninfo({"host": "a", "dbname": "d", "password": SECRET, "keepalives": "1"})

    assert target.libpq_env() == {"PGHOST": "a", "PGDATABASE": "d", "PGPASSWORD": SECRET}
