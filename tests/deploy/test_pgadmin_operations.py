"""pgAdmin: known facts in, exact commands out; no secret in a list of words."""

from typing import TYPE_CHECKING, Any

from deploy.operations.pgadmin import no_pgadmin, pgadmin
from deploy.operations.system import packages
from deploy.pgadmin import UNIT, UNIT_FILE, WEB_UNIT, WEB_UNIT_FILE, Server, Wish, release
from tests.deploy.conftest import file

if TYPE_CHECKING:
    from tests.deploy.conftest import Host

WISH = Wish(
    release=release("pgadmin4==9.18 --hash=sha256:0\ngunicorn==27.0.1 --hash=sha256:0\n"),
    email="admin@example.com",
    password="a secret of some length",
    servers=(Server("db1", "localhost", 5432, "case_management", "another secret"),),
    listen="127.0.0.1",
    port=8443,
    names=("db1",),
    bindir="/usr/lib/postgresql/17/bin",
    authority_pem="-----BEGIN CERTIFICATE-----\n",
)


class Nothing(dict[str, Any]):
    """No file is there."""

    def __missing__(self, _path: str) -> None:
        return None


def test_secrets_travel_on_standard_input_and_are_not_shown(on_host: "Host") -> None:
    stopped = {"active": "inactive", "enabled": ""}
    about: dict[str, Any] = {
        "current": "",
        "store": None,
        "served": "",
        "listening": [],
        "units": {UNIT: stopped, WEB_UNIT: stopped},
    }

    (command,) = on_host(pgadmin, {"files": Nothing(), "pgadmin": about}, WISH)

    words, _, text = command.partition("\n<<")
    assert words == "python3 -"
    assert WISH.password in text
    assert "secret of" not in " ".join(on_host.changes)
    assert "another" not in " ".join(on_host.changes)
    assert f"+{WISH.release.identity}" in on_host.changes


def test_services_go_and_nothing_is_done_where_there_are_none(on_host: "Host") -> None:
    there = {UNIT_FILE: file("x\n"), WEB_UNIT_FILE: None}

    (command,) = on_host(no_pgadmin, {"files": there})

    assert command.startswith(f"systemctl disable --quiet --now {WEB_UNIT} {UNIT};")
    assert on_host(no_pgadmin, {"files": {UNIT_FILE: None, WEB_UNIT_FILE: None}}) == []


def test_a_unit_that_a_package_would_start_is_masked_while_it_is_installed(
    on_host: "Host",
) -> None:
    unwanted = {"nginx-light": "nginx.service"}

    _update, install = on_host(packages, {"packages": {}}, ["nginx-light"], unstarted=unwanted)

    mask, unmask = "systemctl mask --quiet --runtime nginx.service && ", "systemctl unmask"
    assert install.startswith(mask)
    assert install.index("apt-get") < install.index(unmask)
    assert install.endswith("exit $rc")
    # One that is there already is somebody else's business.
    has = {"packages": {"nginx-light": {"held": False}}}
    assert on_host(packages, has, ["nginx-light"], unstarted=unwanted) == []
