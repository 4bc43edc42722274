"""The composed server's disk runs full: said as it is, and what was committed is there."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar

if TYPE_CHECKING:
    from tests.compose.conftest import NewSite, Site

pytestmark = pytest.mark.compose

# A volume of the stack's name, on a disk of its own.
_OVERRIDE = """\
volumes:
  postgres_data:
    driver_opts: {{type: none, o: bind, device: {place}}}
"""
_FULL = "No space left on device"

Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Make a small disk; gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root")
    made = []

    def make(size: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def site_on(new_site: "NewSite") -> Iterator[Callable[[Path], "Site"]]:
    """Make a stack whose data lie on the disk given; removed before the disk is."""
    made: list[Site] = []

    def make(place: Path) -> "Site":
        site = new_site()
        site.make_env()
        (site.folder / "docker-compose.override.yml").write_text(_OVERRIDE.format(place=place))
        made.append(site)
        return site

    yield make
    for site in made:
        site.remove()


def admin(site: "Site") -> Conninfo:
    return Conninfo.parse(site.conninfo).replace(dbname="case_management", user="postgres")


def fill(place: Path) -> Path:
    """Take all the room that is left."""
    ballast = place / "ballast"
    with ballast.open("wb") as file:
        try:
            while file.write(b"x" * 65536):
                file.flush()
        except OSError:
            pass
    return ballast


def insert_until_it_fails(site: "Site", times: int) -> int:
    """Insert 1000 rows each time, and return how often that was acknowledged."""
    done = 0
    try:
        with psycopg.connect(admin(site).dsn, autocommit=True) as connection:
            while done < times:
                connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
                done += 1
    except psycopg.Error:
        return done
    pytest.fail("the disk did not run full")


def test_a_disk_too_small_to_begin_with_is_said_before_anything_is_promised(
    disk: Disk, site_on: Callable[[Path], "Site"]
) -> None:
    site = site_on(disk("16m"))

    done = site("compose", "up")

    assert done.code == 5, done.out + done.err
    assert done.err.count("ERROR:  ") == 1
    assert "the disk is full" in done.err
    assert _FULL in done.err
    # Starting over would not help.
    assert "compose reset" not in done.err


def test_a_disk_that_runs_full_loses_nothing_that_was_committed(
    disk: Disk, site_on: Callable[[Path], "Site"]
) -> None:
    place = disk("220m")
    site = site_on(place)
    up = site("compose", "up")
    assert up.code == 0, up.err
    with connect(admin(site), purpose="test") as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
    ballast = fill(place)

    seeded = site("seed", "--cases", "20000", "--conninfo", site.conninfo)
    acknowledged = 1000 * (1 + insert_until_it_fails(site, times=2000))
    meanwhile = site("compose", "up")
    ballast.unlink()
    mended = site("compose", "up")

    assert seeded.code == 5, seeded.err
    assert seeded.err.count("ERROR:  ") == 1
    assert _FULL in seeded.err
    # What fails is a statement: the server goes on, and whoever reads notices nothing.
    assert meanwhile.code == 0, meanwhile.err
    assert mended.code == 0, mended.err
    with connect(admin(site), purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM kept") == acknowledged
    for words in (["audit", "verify"], ["migrate", "status"]):
        done = site(*words, "--conninfo", site.conninfo)
        assert done.code == 0, done.err
