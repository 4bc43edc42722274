"""What node_exporter reads is true, whole, and says nothing that is not known."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog
from backups.manifest import DUMP
from backups.metrics import StoreState, metrics_of, metrics_text, write_metrics
from backups.records import write_record
from backups.reports import DrillReport
from casedb.cli.main import run
from casedb.errors import ExitCode, ToolFailedError
from tests.backups.conftest import SAMPLE, Made, put_set


def state_of(made: Made) -> StoreState:
    return StoreState(made.store.url, SAMPLE, catalog(made.store, SAMPLE), datetime.now(UTC))


def test_a_drilled_backup_has_every_metric(drilled: tuple[Made, DrillReport]) -> None:
    made, report = drilled

    values = metrics_of(state_of(made))

    assert values["backups"] == 1
    assert values["backups_damaged"] == 0
    assert values["backup_last_success_timestamp_seconds"] == made.manifest.started_at.timestamp()
    assert values["backup_last_drilled_timestamp_seconds"] == made.manifest.started_at.timestamp()
    assert values["backup_last_drill_passed"] == 1
    assert values["backup_restore_seconds"] == report.recovery_s
    assert values["backups_from_the_future"] == 0
    assert len(values) == 10


def test_a_drill_that_failed_last_shows_in_metrics_and_status(
    drilled: tuple[Made, DrillReport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier backup that passed hides nothing."""
    made, report = drilled
    failed = made.copy(tmp_path / "store")
    lines = {"outcome": "failed", "differences": ("a row is gone",)}
    write_record(failed.store, SAMPLE, report.model_copy(update=lines))
    words = ["--without-server", "--json", "--database", SAMPLE]

    code = run(["status", *words, "--store", str(failed.store.root)])

    assert metrics_of(state_of(failed))["backup_last_drill_passed"] == 0
    findings = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert code == ExitCode.DIFFERENT
    assert not findings["drill"]["well"]
    assert findings["drill"]["state"] == f"the last one failed: {made.label}"
    run(["status", *words, "--store", str(made.store.root)])
    findings = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["drill"]["well"]


def test_no_time_of_the_metrics_is_from_the_future(
    drilled: tuple[Made, DrillReport], tmp_path: Path
) -> None:
    """One backup of a clock that was ahead would hide for as long that dumps have stopped."""
    made, report = drilled[0].copy(tmp_path / "store"), drilled[1]
    ahead = timedelta(days=400)
    put_set(made.store, made, days=-ahead.days)

    values = metrics_of(state_of(made))

    assert values["backups"] == 2
    assert values["backups_from_the_future"] == 1
    assert values["backup_last_success_timestamp_seconds"] == made.manifest.started_at.timestamp()
    write_record(made.store, SAMPLE, report.model_copy(update={"at": report.at + ahead}))
    values = metrics_of(state_of(made))
    assert values["backups_from_the_future"] == 2
    assert not {name for name in values if "drill" in name}


def test_what_is_not_known_has_no_value_and_no_zero(made: Made) -> None:
    empty = metrics_of(StoreState("file:///x", "app", [], datetime.now(UTC)))
    assert empty == {"backups": 0, "backups_damaged": 0, "backups_from_the_future": 0}

    never_drilled = metrics_text([state_of(made)])
    assert "drill" not in never_drilled


def test_a_damaged_backup_is_no_success(copied: Made) -> None:
    (copied.folder / DUMP).write_bytes(b"x")

    nothing = {"backups": 0, "backups_damaged": 1, "backups_from_the_future": 0}
    assert metrics_of(state_of(copied)) == nothing


def test_the_file_is_prometheus_text_whole_and_readable(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "casedb.prom"
    odd = StoreState('s3://b/"\\', "a\nb", state_of(made).backups, datetime.now(UTC))

    write_metrics(path, [state_of(made), odd])

    sample = r'casedb_\w+\{database="(?:[^"\\\n]|\\.)*",store="(?:[^"\\\n]|\\.)*"\} [\d.e+]+'
    for line in path.read_text().splitlines():
        assert re.fullmatch(rf"# (HELP|TYPE) casedb_\w+ .+|{sample}", line), line
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ToolFailedError, match="metrics cannot be written"):
        write_metrics(tmp_path / "nowhere" / "casedb.prom", [odd])
