"""Which source of a setting wins, and what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from casedb.errors import ConfigurationError, UsageError
from casedb.settings import Settings, Source, read_settings


def read(
    tmp_path: Path, toml: str = "", environment: dict[str, str] | None = None, **options: object
) -> Settings:
    (tmp_path / "casedb.toml").write_text(toml)
    return read_settings(options=options, environment=environment or {}, folder=tmp_path)


def test_without_anything_the_embedded_server_is_meant(tmp_path: Path) -> None:
    settings = read(tmp_path)

    assert settings.connection_source is Source.DEFAULT
    assert settings.home == tmp_path / ".casedb"
    assert settings.store_url == str(tmp_path / ".casedb" / "backups")


def test_an_option_beats_the_environment_which_beats_libpqs_which_beats_the_file(
    tmp_path: Path,
) -> None:
    toml = 'database = "from_file"'
    libpq = {"PGDATABASE": "from_libpq"}
    ours = {"CASEDB_DATABASE": "from_ours"}

    assert read(tmp_path, toml).values.database == "from_file"
    assert read(tmp_path, toml, libpq).values.database == "from_libpq"
    assert read(tmp_path, toml, libpq | ours).values.database == "from_ours"
    by_option = read(tmp_path, toml, libpq | ours, database="from_option")
    assert by_option.values.database == "from_option"
    assert by_option.sources["database"] is Source.OPTION


def test_the_database_in_a_conninfo_counts_where_the_conninfo_stands(tmp_path: Path) -> None:
    settings = read(tmp_path, 'database = "from_file"', conninfo="host=db1 dbname=given")

    assert settings.values.database == "given"


def test_a_server_of_one_source_gets_no_port_user_or_password_of_a_lower_one(
    tmp_path: Path,
) -> None:
    settings = read(
        tmp_path,
        'conninfo = "host=old port=6000 user=other sslmode=require"',
        {"PGHOST": "new", "PGPASSWORD": "hush"},
    )

    assert settings.connection_source is Source.LIBPQ
    assert settings.connection.words == {"host": "new", "password": "hush", "sslmode": "require"}


def test_a_secret_alone_in_the_environment_is_for_the_server_that_an_option_names(
    tmp_path: Path,
) -> None:
    secrets = {"PGPASSFILE": "/run/pass", "PGPASSWORD": "hush"}

    alone = read(tmp_path, environment=secrets, conninfo="host=db1")
    of_another = read(tmp_path, environment=secrets | {"PGHOST": "db2"}, conninfo="host=db1")

    assert alone.connection.words == {"host": "db1", "passfile": "/run/pass", "password": "hush"}
    assert of_another.connection.words == {"host": "db1"}


def test_a_user_alone_from_a_higher_source_joins_the_server_of_a_lower_one(
    tmp_path: Path,
) -> None:
    settings = read(tmp_path, 'conninfo = "host=db1 user=a"', {"PGUSER": "b"})

    assert settings.connection.words == {"host": "db1", "user": "b"}
    assert settings.connection_source is Source.FILE


def test_a_pg_service_names_a_server(tmp_path: Path) -> None:
    settings = read(tmp_path, environment={"PGSERVICE": "cases"})

    assert settings.connection_source is Source.LIBPQ
    assert settings.connection.words == {"service": "cases"}


def test_database_url_is_the_last_before_the_embedded_server(tmp_path: Path) -> None:
    url = {"DATABASE_URL": "postgresql://app:x@pooler:6432/app_db?schema=public"}

    alone = read(tmp_path, environment=url)
    beside = read(tmp_path, 'conninfo = "host=db1"', url)

    assert alone.connection_source is Source.DATABASE_URL
    assert alone.values.database == "app_db"
    assert beside.connection.words == {"host": "db1"}


def test_an_unknown_key_is_refused_with_the_nearest_known_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keepwithn") as caught:
        read(tmp_path, 'keepwithn = "8w"')
    assert "keep_within" in str(caught.value.hint)

    with pytest.raises(ConfigurationError, match="CASEDB_STOER") as caught:
        read(tmp_path, environment={"CASEDB_STOER": "/x"})
    assert "CASEDB_STORE" in str(caught.value.hint)


@pytest.mark.parametrize(
    "toml",
    ['keep_within = "soon"', "keep_last = 0", 'pg_major = "x"', "keep_within = [", "a=1\na=2"],
)
def test_a_value_that_makes_no_sense_is_refused(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, toml)


@pytest.mark.parametrize(
    ("origin", "toml", "environment", "option"),
    [
        ("--conninfo", "", {}, "host=db1 port=abc"),
        ("CASEDB_CONNINFO", "", {"CASEDB_CONNINFO": "host=db1 port=abc"}, None),
        ("PGPORT", "", {"PGPORT": "abc"}, None),
        ("casedb.toml", 'conninfo = "host=db1 port=abc"', {}, None),
        ("DATABASE_URL", "", {"DATABASE_URL": "postgresql://app:hush@db1:abc/cases"}, None),
    ],
)
def test_a_port_that_is_no_number_is_refused_and_it_is_said_who_said_it(
    tmp_path: Path, origin: str, toml: str, environment: dict[str, str], option: str | None
) -> None:
    with pytest.raises(ConfigurationError, match="port has to be a number") as caught:
        read(tmp_path, toml, environment, conninfo=option)

    assert origin in (caught.value.detail or "")
    assert origin in (caught.value.hint or "")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "word"), [("PGSSLMODE", "sslmode"), ("PGCONNECT_TIMEOUT", "connect_timeout")]
)
def test_other_words_of_the_server_are_looked_at_too(
    tmp_path: Path, variable: str, word: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{word} has to be") as caught:
        read(tmp_path, environment={"PGHOST": "db1", variable: "abc"})
    assert variable in (caught.value.detail or "")


@pytest.mark.parametrize("password", ["se@cret", "se@cret:w0rd", "se/cret", "se%cret", "se cret"])
def test_of_a_password_that_a_url_should_have_encoded_no_piece_is_shown(
    tmp_path: Path, password: str
) -> None:
    url = f"postgresql://app:{password}@db1/cases"

    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, environment={"DATABASE_URL": url})

    error = caught.value
    said = f"{error.message} {error.detail} {error.hint}"
    assert "DATABASE_URL" in said
    assert "%40" in said
    assert "cret" not in said
    assert "w0rd" not in said


def test_a_word_that_is_not_used_may_be_what_it_will(tmp_path: Path) -> None:
    environment = {"PGPORT": "abc", "PGSSLMODE": "abc", "DATABASE_URL": "postgresql://db2:abc/x"}

    settings = read(tmp_path, environment=environment, conninfo="host=db1 sslmode=require")

    assert settings.connection.words == {"host": "db1", "sslmode": "require"}


@pytest.mark.parametrize(
    ("origin", "environment", "option"),
    [
        ("--conninfo", {}, "host=db1 nonsense"),
        ("CASEDB_CONNINFO", {"CASEDB_CONNINFO": "host=db1 nonsense"}, None),
        ("DATABASE_URL", {"DATABASE_URL": "postgresql://[db1/cases"}, None),
    ],
)
def test_a_connection_string_that_cannot_be_read_is_named(
    tmp_path: Path, origin: str, environment: dict[str, str], option: str | None
) -> None:
    with pytest.raises(ConfigurationError, match=origin):
        read(tmp_path, environment=environment, conninfo=option)


@pytest.mark.parametrize("name", ["store", "recipients", "on_success", "on_failure"])
def test_a_list_with_an_empty_word_in_it_is_refused_wherever_it_stands(
    tmp_path: Path, name: str
) -> None:
    """As `"$A;$B"` is with variables that are not set: nobody asked for none, or for one less."""
    told = f'{name} = ["one"]'
    for text in (";", " ", "two;", ";two", "two; ;three"):
        with pytest.raises(ConfigurationError, match=f'"{name}"') as caught:
            read(tmp_path, told, {f"CASEDB_{name.upper()}": text})
        assert "One of its words is empty" in (caught.value.detail or "")
        assert "from environment" in (caught.value.detail or "")
        with pytest.raises(ConfigurationError, match=f'"{name}"'):
            read(tmp_path, f'{name} = "{text}"')
    with pytest.raises(ConfigurationError, match=f'"{name}"'):
        read(tmp_path, f'{name} = ["two", " "]')
    with pytest.raises(ConfigurationError, match=f'"{name}"'):
        read_settings(options={name: ("",)}, environment={}, folder=tmp_path)


def test_a_list_may_be_empty_in_the_file_and_is_not_given_by_an_empty_variable(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, "recipients = []").values.recipients == ()
    unset = read(tmp_path, 'recipients = ["age1"]', {"CASEDB_RECIPIENTS": ""})
    assert unset.values.recipients == ("age1",)
    several = read(tmp_path, environment={"CASEDB_RECIPIENTS": "age1; age2"})
    assert several.values.recipients == ("age1", "age2")


@pytest.mark.parametrize("policy", ["keep_within = -5", "keep_last = 0", "keep_daily = -1"])
def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path, policy: str) -> None:
    with pytest.raises(ConfigurationError, match=policy.split()[0]):
        read(tmp_path, policy)


def test_lengths_of_time_are_read_as_people_write_them(tmp_path: Path) -> None:
    assert read(tmp_path, 'keep_within = "8w"').values.keep_within == timedelta(weeks=8)


def test_a_password_is_refused_in_the_file_and_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        read(tmp_path, 'conninfo = "host=db1 password=hush"')
    with pytest.raises(UsageError, match="password"):
        read(tmp_path, conninfo="host=db1 password=hush")


def test_no_shown_value_has_a_secret_in_it(tmp_path: Path) -> None:
    settings = read(tmp_path, environment={"CASEDB_CONNINFO": "host=db1 password=hush-hush"})

    shown = str(settings.shown())
    assert "hush" not in shown
    assert "db1" in shown


def test_the_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "casedb.toml").write_text('data_dir = "elsewhere"')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    settings = read_settings(options={}, environment={}, folder=below)

    assert settings.home == tmp_path / "elsewhere"
