"""The .env of the stack: made once, read as docker compose reads it, refused where it is weak."""

import socket
from pathlib import Path

import pytest

from casedb.compose_env import (
    PORTS,
    checked,
    is_free,
    make_env,
    next_free_port,
    port_of,
    read_env,
)
from casedb.errors import ConfigurationError, RefusedError
from casedb.roles import LOGIN_ROLES


def test_it_has_a_password_for_every_role_and_is_read_back(tmp_path: Path) -> None:
    ports = make_env(tmp_path)

    passwords = checked(read_env(tmp_path, {}))

    assert ports is not None
    assert set(ports) == set(PORTS)
    assert set(passwords) == {"postgres", *LOGIN_ROLES}
    assert len(set(passwords.values())) == len(passwords)


def test_one_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")

    assert make_env(tmp_path) is None
    assert (tmp_path / ".env").read_text() == "MINE=1\n"


def test_the_environment_goes_first(tmp_path: Path) -> None:
    make_env(tmp_path)

    found = read_env(tmp_path, {"POSTGRES_PORT": "6000", "DB_PASSWORD": "", "HOME": "/x"})

    assert found["POSTGRES_PORT"] == "6000"
    assert found["DB_PASSWORD"]
    assert "HOME" not in found


@pytest.mark.parametrize("password", ["password123", "x" * 15])
def test_a_short_password_is_refused_and_not_shown(tmp_path: Path, password: str) -> None:
    make_env(tmp_path)

    with pytest.raises(RefusedError) as caught:
        checked({**read_env(tmp_path, {}), "CASE_APP_PASSWORD": password})

    assert password not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["a password with spaces", 'a"quote' * 4, "it's" * 6, "a:b" * 8]
)
def test_a_password_that_files_would_have_to_quote_is_refused(
    tmp_path: Path, password: str
) -> None:
    make_env(tmp_path)

    with pytest.raises(ConfigurationError, match="quoting"):
        checked({**read_env(tmp_path, {}), "CASE_APP_PASSWORD": password})


def test_a_port_in_use_is_passed_over() -> None:
    assert next_free_port(5432, free=lambda port: port > 5434) == 5435
    with pytest.raises(ConfigurationError, match="no port"):
        next_free_port(5432, free=lambda _port: False)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1"])
def test_a_port_has_to_be_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match="POOLER_PORT"):
        port_of({"POOLER_PORT": text}, "POOLER_PORT")
