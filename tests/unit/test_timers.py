"""Which timers a host has, by its group and its data, and what their units say."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.conf import Place
from deploy.defaults import DEFAULTS
from deploy.timers import (
    SYSTEMD,
    VERBS,
    Kind,
    Timer,
    age_limits,
    escape,
    kind_of,
    parse_unit,
    units,
    wanted,
)
from deploy.toolkit import folders, local_stores, settings_text

ENCRYPTED: dict[str, Any] = {"toolkit_settings": {"recipients": ["age1example"]}}


def data(**chosen: Any) -> dict[str, Any]:
    return {**DEFAULTS, **chosen}


def verbs(kind: Kind = Kind.DATABASE, **chosen: Any) -> list[str]:
    return [timer.verb for timer in wanted(data(**chosen), kind)]


def test_the_group_decides_what_a_host_is_for() -> None:
    assert kind_of(["production", "all"]) is Kind.DATABASE
    assert kind_of(["production", "drill"]) is Kind.DRILL


def test_a_database_host_does_all_of_it_with_backups_in_clear() -> None:
    assert verbs() == ["dump", "verify", "drill", "rotate"]


def test_with_encryption_drill_and_rotate_are_for_the_group_that_has_the_key() -> None:
    assert verbs(**ENCRYPTED) == ["dump", "verify"]
    assert verbs(Kind.DRILL, **ENCRYPTED) == ["verify", "drill", "rotate"]


def test_what_the_group_forbids_cannot_be_had_by_asking_for_it() -> None:
    with pytest.raises(ValueError, match="no timer of drill, rotate here: backups are encrypted"):
        verbs(timers={"drill": "weekly", "rotate": "daily"}, **ENCRYPTED)
    with pytest.raises(ValueError, match="no timer of dump here: a host of group drill has no"):
        verbs(Kind.DRILL, timers={"dump": "daily"})


@pytest.mark.parametrize(
    "chosen",
    [
        {"backup_key": "file:key", **ENCRYPTED},
        {"toolkit_settings": {"recipients": ["age1x"], "key_file": "/etc/casedb/key"}},
    ],
)
def test_the_key_of_encrypted_backups_is_refused_on_the_databases_host(
    chosen: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="must not lie on the database's own host"):
        verbs(**chosen)
    assert "drill" in verbs(Kind.DRILL, **chosen)


def test_a_timer_that_is_turned_off_is_not_there_and_another_has_its_own_time() -> None:
    found = wanted(data(timers={"verify": None, "dump": "hourly"}), Kind.DATABASE)

    assert {timer.verb: timer.calendar for timer in found}["dump"] == "hourly"
    assert [timer.verb for timer in found] == ["dump", "drill", "rotate"]
    files = units(found, {})
    assert files[f"{SYSTEMD}/casedb-verify@.timer"] is None
    assert files[f"{SYSTEMD}/casedb-verify@.service"] is None
    assert len(files) == 3 * len(VERBS)


def test_without_the_toolkit_nothing_runs() -> None:
    assert verbs(toolkit=False) == []


@pytest.mark.parametrize(
    ("timers", "message"),
    [
        ({"restore": "daily"}, "no timer for restore"),
        ({"dump": "daily\nUser=root"}, "a calendar such as hourly"),
        ({"dump": 5}, "a calendar such as hourly"),
        ({"dump": "%H"}, "a calendar such as hourly"),
        ({"dump": " "}, "a calendar such as hourly"),
    ],
)
def test_data_that_make_no_sense_are_refused(timers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verbs(timers=timers)


def test_each_database_has_timers_of_its_own() -> None:
    found = wanted(data(databases={"one": "staging", "the-two": "staging"}), Kind.DATABASE)

    assert [timer.unit for timer in found][::4] == [
        "casedb-dump@one.timer",
        "casedb-dump@the\\x2dtwo.timer",
    ]


@pytest.mark.parametrize("name", ["case_management", "case-management", "a/b", ".x", "Fälle 2"])
def test_a_databases_name_survives_being_a_unit(name: str) -> None:
    timer = Timer("dump", name, "daily")

    assert parse_unit(timer.unit) == ("dump", name)
    if shutil.which("systemd-escape"):
        done = subprocess.run(
            ["systemd-escape", "--", name], capture_output=True, text=True, check=True
        )
        assert escape(name) == done.stdout.strip()


def service(verb: str, **settings: Any) -> str:
    found = units(wanted(data(), Kind.DATABASE), settings)[f"{SYSTEMD}/casedb-{verb}@.service"]
    assert found
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_service_is_unprivileged_confined_and_tells_of_its_failure(verb: str) -> None:
    lines = service(verb).splitlines()

    for line in (
        "User=casedb", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes",
        "UMask=0077", "CapabilityBoundingSet=", f"OnFailure=casedb-{verb}-failed@%i.service",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("MemoryMax=") for line in lines)
    assert any(line.startswith("CPUWeight=") for line in lines)


def test_a_service_may_write_its_own_folders_and_the_stores_of_this_host_alone() -> None:
    text = service("dump", store=["/srv/backups", "s3://bucket/x", "file:///mnt/b%"])

    writable = [line for line in text.splitlines() if line.startswith("ReadWritePaths=")]
    assert writable == [
        'ReadWritePaths="-/var/lib/casedb/home"',
        'ReadWritePaths="-/var/log/casedb"',
        'ReadWritePaths="-/var/lib/casedb/metrics"',
        'ReadWritePaths="-/srv/backups"',
        'ReadWritePaths="-/mnt/b%%"',
    ]


@pytest.mark.parametrize("store", ["backups", "/srv/with space", '/srv/"', "/srv/a\nUser=root"])
def test_a_store_that_a_unit_cannot_name_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="no absolute path"):
        local_stores({"store": [store]})


def test_a_stores_folder_is_the_accounts_alone_and_metrics_are_for_all_to_read() -> None:
    assert folders({"store": "/srv/one; s3://bucket; /srv/two"}) == {
        "/var/log/casedb": "750",
        "/var/lib/casedb/metrics": "755",
        "/srv/one": "700",
        "/srv/two": "700",
    }


def test_metrics_that_the_inventory_places_stay_there() -> None:
    assert "CASEDB_METRICS_FILE" in service("dump")
    assert "CASEDB_METRICS_FILE" not in service("dump", metrics_file="/srv/x.prom")


def test_an_hourly_dump_does_not_wait_for_up_to_an_hour_and_is_late_sooner() -> None:
    def delay(calendar: str) -> str:
        found = wanted(data(timers={"dump": calendar}), Kind.DATABASE)
        text = units(found, {})[f"{SYSTEMD}/casedb-dump@.timer"]
        assert text
        assert "Persistent=true" in text
        return text.partition("RandomizedDelaySec=")[2].split()[0]

    assert (delay("daily"), delay("hourly"), delay("*:0/15")) == ("1h", "5min", "5min")
    hourly = wanted(data(timers={"dump": "hourly", "drill": "monthly"}), Kind.DATABASE)
    assert age_limits(hourly) == {"backup_max_age": "3h", "drill_max_age": "32d"}
    assert age_limits(wanted(data(), Kind.DATABASE)) == {"backup_max_age": "26h"}


def test_what_the_inventory_says_of_ages_holds() -> None:
    limits = age_limits(wanted(data(), Kind.DATABASE))

    text = settings_text(
        Place(15, "main"), port=5432, database="x", chosen={**limits, "backup_max_age": "5h"}
    )

    assert tomllib.loads(text)["backup_max_age"] == "5h"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for path, text in units(wanted(data(), Kind.DATABASE), {"store": "/srv/b"}).items():
        assert text
        # What is not on this machine need not be here to be understood.
        usable = text.replace("/usr/local/bin/casedb", "/bin/true").replace("User=casedb\n", "")
        (tmp_path / Path(path).name).write_text(usable.replace("Group=casedb\n", ""))
    found = [str(path).replace("@.", "@x.") for path in sorted(tmp_path.iterdir())]

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *found],
        capture_output=True, text=True, check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip

    about = [line for line in done.stderr.splitlines() if "casedb-" in line]
    assert (done.returncode, about) == (0, [])
