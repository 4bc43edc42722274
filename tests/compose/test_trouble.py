"""What can be wrong with the stack is said before it harms, and nothing is lost by it."""

import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.compose.conftest import Site

if TYPE_CHECKING:
    from tests.compose.conftest import NewSite, Result

pytestmark = pytest.mark.compose


def refused(done: "Result", code: int, *words: str) -> None:
    """One error with this code, which says `words` somewhere."""
    assert done.code == code, done.out + done.err
    assert done.err.count("ERROR:  ") == 1
    for word in words:
        assert word in done.err, done.err


def test_without_an_env_it_says_how_to_make_one(new_site: "NewSite") -> None:
    site = new_site()

    for words in (["up"], ["status"], ["down"], ["reset", "--confirm", "x"]):
        refused(site("compose", *words), 3, "there is no", ".env", "make env")
    assert "make env" in site.docker("compose", "up", "--detach", check=False)
    assert "make env" in site.docker("compose", "config", check=False)


def test_an_env_is_made_once_with_other_passwords_every_time(new_site: "NewSite") -> None:
    one, two = new_site(), new_site()
    for site in (one, two):
        assert site("compose", "env", "--json").json["made"] is True
        assert (site.folder / ".env").stat().st_mode & 0o777 == 0o600
    before = one.env

    again = one("compose", "env", "--json")

    assert again.json["made"] is False
    assert one.env == before
    names = {name for name in before if name.endswith("_PASSWORD")}
    assert not {before[name] for name in names} & {two.env[name] for name in names}
    assert len({before[name] for name in names}) == len(names)


def test_an_env_open_to_others_is_refused(site: Site) -> None:
    (site.folder / ".env").chmod(0o644)

    refused(site("compose", "up"), 7, "open to others", "chmod 600")


@pytest.mark.parametrize("name", ["DB_PASSWORD", "PGADMIN_PASSWORD", "CASE_APP_PASSWORD"])
def test_a_weak_or_missing_password_is_refused_before_anything_starts(
    site: Site, name: str
) -> None:
    site.set(**{name: "password123"})
    refused(site("compose", "up"), 7, name, "weak")
    site.set(**{name: ""})
    refused(site("compose", "up"), 3, name, "missing")
    site.set(**{name: "it's a long password, but"})
    refused(site("compose", "up"), 3, name, "quoting")

    assert site.container("postgres") == ""


def test_docker_compose_itself_does_not_start_with_a_weak_password_either(site: Site) -> None:
    site.set(CASE_APP_PASSWORD="password123")

    site.docker("compose", "up", "--detach", "postgres")

    deadline = time.monotonic() + 120
    while "is shorter than" not in (logged := site.docker("compose", "logs", "postgres")):
        assert time.monotonic() < deadline, logged
        time.sleep(0.5)
    assert "the password in secret case_app is shorter than 16 characters" in logged
    assert "password123" not in logged


def test_an_initialisation_that_broke_off_never_becomes_healthy_unnoticed(site: Site) -> None:
    roles = site.folder / "docker/postgres/init/10-roles.sh"
    # As if it had been killed before its last statement.
    roles.write_text(roles.read_text().replace("sql --command=", "exit 1; sql --command="))
    compose = site.folder / "docker-compose.yml"
    quick = compose.read_text().replace("start_period: 60s", "start_period: 5s")
    compose.write_text(quick.replace("retries: 15", "retries: 3"))

    done = site("compose", "up")

    refused(done, 5, "postgres", "did not become healthy", "casedb compose reset")
    # The image takes the volume for initialised now; the health check never does.
    deadline = time.monotonic() + 120
    while "the initialisation did not run to its end" not in done.err:
        assert time.monotonic() < deadline, done.err
        done = site("compose", "up")
        refused(done, 5, "postgres")


def test_a_port_that_is_taken_is_named_with_a_free_one(site: Site) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        site.set(POSTGRES_PORT=port)

        done = site("compose", "up")

    refused(done, 3, f"port {port}", "is taken", "POSTGRES_PORT=")
    assert f"POSTGRES_PORT={port}" not in done.err
    assert site.container("postgres") == ""


def test_a_service_that_does_not_start_shows_what_it_logged(site: Site) -> None:
    site.set(PGADMIN_EMAIL="admin@localhost")

    done = site("compose", "up")

    refused(done, 5, "pgadmin", "does not appear to be a valid email address")


def test_without_docker_it_offers_the_embedded_server(site: Site, tmp_path: Path) -> None:
    refused(site("compose", "up", PATH="/nonexistent"), 3, "Docker is not installed", "make up")

    found = shutil.which("docker")
    assert found
    (tmp_path / "docker").symlink_to(found)
    nobody = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "unix:///nonexistent.sock"}
    refused(site("compose", "up", **nobody), 3, "Docker does not answer", "make up")
    no_plugin = {"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path)}
    refused(site("compose", "up", **no_plugin), 3, "Docker has no compose", "make up")


def test_outside_of_a_checkout_it_says_so(images: dict[str, str], tmp_path: Path) -> None:
    refused(Site(tmp_path, images)("compose", "up"), 3, "docker-compose.yml", "checkout")


def test_down_keeps_the_data_and_reset_asks(site: Site) -> None:
    assert site("compose", "up").code == 0
    target = Conninfo.parse(site.conninfo).replace(dbname="case_management", user="postgres")
    with connect(target, purpose="test") as connection:
        connection.execute("CREATE TABLE kept ()")

    assert site("compose", "down").code == 0
    assert site.container("postgres") == ""
    refused(site("compose", "reset"), 7, "not confirmed")
    name = site.env["COMPOSE_PROJECT_NAME"]
    refused(site("compose", "reset", "--confirm", "casedb"), 7, name)
    assert site("compose", "up").code == 0
    with connect(target, purpose="test") as connection:
        assert scalar(connection, "SELECT to_regclass('kept')::text") == "kept"

    assert site("compose", "reset", "--confirm", name).code == 0

    assert site.docker("volume", "ls", "-q", "--filter", f"name={name}") == ""
    assert (site.folder / ".env").exists()
    assert (site.folder / ".casedb" / "backups").is_dir()


def test_an_env_of_other_passwords_is_told_apart_from_a_server_that_is_down(site: Site) -> None:
    assert site("compose", "up").code == 0
    site.set(DB_PASSWORD="another-password-than-before")

    refused(site("compose", "up"), 3, "are not those of the stack's data", "casedb compose reset")
