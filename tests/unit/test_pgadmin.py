"""pgAdmin's version, data, configuration and differences: values in, values out."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from deploy import pgadmin, pgadmin_files, pgadmin_state
from deploy.remote import gather_pgadmin

ROOT = Path(__file__).parents[2]
HASH = "    --hash=sha256:00\n"
SERVER = pgadmin.Server("db1", "localhost", 5432, "case_management", "a:b\\c")
ASKED = pgadmin_state.asked(email="admin@example.com", listen="127.0.0.1", port=8443)


def pinned(version: str, gunicorn: str = "27.0.1") -> str:
    return f"pgadmin4=={version} \\\n{HASH}gunicorn=={gunicorn} \\\n{HASH}"


WISH = pgadmin.Wish(
    release=pgadmin.release(pinned("9.18")),
    email="admin@example.com",
    password="long enough, surely",
    servers=(SERVER,),
    listen="127.0.0.1",
    port=8443,
    names=("db1", "localhost", "127.0.0.1"),
    bindir="/usr/lib/postgresql/17/bin",
    authority_pem="-----BEGIN CERTIFICATE-----\n",
)


def test_the_version_we_ship_is_pinned_with_hashes_and_has_no_known_hole() -> None:
    ours = pgadmin.release((ROOT / pgadmin.REQUIREMENTS).read_text("utf-8"))

    assert tuple(int(part) for part in ours.version.split(".")) >= pgadmin.FLOOR


@pytest.mark.parametrize("version", ["9.16", "9.9", "8.14", "4.30"])
def test_a_version_with_known_holes_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=f"pgAdmin {version} has known holes; 9.17 is the oldest"):
        pgadmin.release(pinned(version))


@pytest.mark.parametrize("version", ["9.17", "9.18", "9.100", "10.0"])
def test_versions_are_compared_by_their_numbers(version: str) -> None:
    assert pgadmin.release(pinned(version)).version == version


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        ("gunicorn==1 --hash=sha256:0", "pin no pgadmin4"),
        ("pgadmin4==9.18 --hash=sha256:0", "pin no gunicorn"),
        (pinned("9.18") + "flask==3.1.3\n", "no hash for flask==3.1.3"),
        (pinned("9.18rc1"), "no released version"),
    ],
)
def test_requirements_that_anything_could_slip_into_are_refused(
    requirements: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        pgadmin.release(requirements)


def test_another_set_of_packages_is_another_environment() -> None:
    same, other = pgadmin.release(pinned("9.18")), pgadmin.release(pinned("9.18", "26.0.0"))

    assert same.identity == WISH.release.identity
    assert same.identity.startswith("9.18-")
    assert other.identity != same.identity


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"password": "short"}, "has 5 characters, 16 are the least"),
        ({"email": "admin@localhost"}, "its domain needs a dot"),
        ({"email": "a/../b@example.com"}, "is no address"),
        ({"listen": "*"}, "is no address such as 127.0.0.1"),
        ({"port": 70000}, "cannot be 70000"),
    ],
)
def test_data_that_make_no_sense_are_named_and_no_secret_is_shown(
    data: dict[str, Any], said: str
) -> None:
    assert pgadmin.check(WISH) == []
    (problem,) = pgadmin.check(dataclasses.replace(WISH, **data))

    assert said in problem
    assert "short" not in problem


def test_it_listens_where_it_is_asked_to_and_on_loopback_by_itself() -> None:
    assert "listen 127.0.0.1:8443 ssl;" in pgadmin_files.nginx(WISH)
    assert "listen [::1]:8443 ssl;" in pgadmin_files.nginx(dataclasses.replace(WISH, listen="::1"))
    # gunicorn has no port at all.
    assert "--bind unix:/run/pgadmin/pgadmin.sock" in pgadmin_files.unit()
    assert "--workers 1 " in pgadmin_files.unit()


def test_the_configuration_is_python_and_holds_no_secret() -> None:
    found: dict[str, Any] = {}
    exec(pgadmin_files.config(WISH), found)

    assert (found["SERVER_MODE"], found["ENABLE_PSQL"]) == (True, False)
    assert found["ALLOWED_HOSTS"] == ["db1", "localhost", "127.0.0.1"]
    assert not any(WISH.password in text for text in pgadmin_files.configuration(WISH).values())
    assert not any(SERVER.password in text for text in pgadmin_files.configuration(WISH).values())


def test_the_password_file_is_quoted_for_libpq() -> None:
    path, _authority = pgadmin_files.private_paths(WISH.email)

    assert path == "/var/lib/pgadmin/storage/admin_example.com/.pgpass"
    assert pgadmin_files.private(WISH)[path] == "localhost:5432:*:case_readonly:a\\:b\\\\c\n"


def state(**about: Any) -> dict[str, Any]:
    """A host on which all is well, but for what `about` says of pgAdmin."""

    def file(text: str, **found: Any) -> dict[str, Any]:
        return {"content": text, "sha256": hashlib.sha256(text.encode()).hexdigest(), **found}

    certificate = "-----BEGIN CERTIFICATE-----\nX\n"
    private = {
        p: file(t, mode="600", user="pgadmin") for p, t in pgadmin_files.private(WISH).items()
    }
    return {
        "files": {
            **private,
            pgadmin.STORE: {"mode": "600", "user": "pgadmin"},
            pgadmin.IN_FORCE_FILE: file(pgadmin_files.in_force(WISH)),
            pgadmin.NGINX_FILE: file(pgadmin_files.nginx(WISH)),
            "/etc/casedb/tls/server.crt": file(certificate),
        },
        "pgadmin": {
            "current": WISH.release.identity,
            "store": {"schema": 52, "user": "well", "servers": pgadmin.servers_json(WISH.servers)},
            "listening": ["127.0.0.1"],
            "served": certificate.strip(),
            "units": {
                name: {"active": "active", "enabled": "enabled"}
                for name in (pgadmin.UNIT, pgadmin.WEB_UNIT)
            },
            **about,
        },
    }


def test_nothing_differs_on_a_good_host() -> None:
    assert pgadmin_state.differences(state(), WISH) == []
    assert pgadmin_state.port_problem(state(), WISH) == ""


STOPPED = {"active": "inactive", "enabled": "enabled"}
SPOILED: dict[str, tuple[dict[str, Any], str]] = {
    "another version": ({"current": "9.17-0"}, "pgAdmin in /opt/pgadmin"),
    "no certificate": ({"served": ""}, "certificate at port 8443"),
    "an old certificate": ({"served": "Y"}, "certificate at port 8443"),
    "stopped": (
        {"units": {pgadmin.UNIT: STOPPED, pgadmin.WEB_UNIT: {**STOPPED, "active": "active"}}},
        pgadmin.UNIT,
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_each_difference_is_found_alone(name: str) -> None:
    about, what = SPOILED[name]

    assert [found for found, _lines in pgadmin_state.differences(state(**about), WISH)] == [what]


@pytest.mark.parametrize("user", ["missing", "locked", "inactive"])
def test_a_first_user_who_cannot_log_in_is_drift(user: str) -> None:
    well = state()["pgadmin"]["store"]

    ((what, lines),) = pgadmin_state.differences(state(store={**well, "user": user}), WISH)

    assert (what, lines[0]) == ("pgAdmin's user admin@example.com", f"-{user}")


def test_servers_that_are_missing_changed_or_twice_there_are_drift() -> None:
    well = state()["pgadmin"]["store"]
    (ours,) = well["servers"]
    for servers in ([], [{**ours, "Username": "postgres"}], [ours, ours]):
        found = pgadmin_state.differences(state(store={**well, "servers": servers}), WISH)
        assert [what for what, _lines in found] == ["pgAdmin's servers"]
        assert found[0][1]


def test_a_password_file_that_others_may_read_is_drift_and_is_not_shown() -> None:
    open_to_all = state()
    path, _authority = pgadmin_files.private_paths(WISH.email)
    open_to_all["files"][path]["mode"] = "644"

    assert pgadmin_state.differences(open_to_all, WISH) == [(path, ("(its content is secret)",))]


def test_a_store_that_others_may_read_is_drift() -> None:
    open_to_all = state()
    open_to_all["files"][pgadmin.STORE]["mode"] = "640"

    assert pgadmin_state.differences(open_to_all, WISH) == [
        (pgadmin.STORE, ("-pgadmin 640", "+pgadmin 600"))
    ]


def test_a_port_that_somebody_else_has_is_refused() -> None:
    about = state()["pgadmin"]
    stopped = {**about["units"], pgadmin.WEB_UNIT: STOPPED}
    moved = dataclasses.replace(WISH, port=9443)

    assert "port 8443 is taken" in pgadmin_state.port_problem(state(units=stopped), WISH)
    assert "port 9443 is taken" in pgadmin_state.port_problem(state(), moved)
    assert pgadmin_state.port_problem(state(units=stopped, listening=[]), WISH) == ""


def test_a_store_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "pgadmin4.db"
    asked = {**ASKED, "store": str(path)}

    assert gather_pgadmin.store(asked) is None
    path.write_text("no database at all, but long enough to be taken for one" * 20)
    assert gather_pgadmin.store(asked) == {"error": "file is not a database"}
    path.write_bytes(b"")
    found = gather_pgadmin.store(asked)
    assert found is not None
    assert "no such table" in found["error"]
