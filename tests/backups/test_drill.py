"""A drill proves that a backup restores into the same content, or says what is not the same."""

import hashlib
import json
import tempfile
from pathlib import Path

import pytest

from backups.catalog import read_backup
from backups.drill import drill
from backups.dump import dump
from backups.load import load_archive
from backups.manifest import DUMP, GLOBALS, MANIFEST, FileFacts, Manifest
from backups.progress import Progress
from backups.reports import DrillReport
from backups.stores import LocalStore
from backups.streams import HashingReader, compress, decompressed
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import BackupDamagedError, DifferenceError, TerminatedError, UnverifiedError
from casedb.tools import PostgresTools, wheel_tools
from tests.backups.conftest import Made
from tests.matrix.disk import small_disk


def forge(made: Made, before: bytes, after: bytes) -> None:
    """Change the archive's content and put every checksum right, so that only content tells."""
    assert len(before) == len(after)
    path = made.folder / DUMP
    with path.open("rb") as file:
        raw = b"".join(decompressed(HashingReader(file)))
    assert raw.count(before) >= 1
    with tempfile.TemporaryFile() as source, path.open("wb") as sink:
        source.write(raw.replace(before, after, 1))
        source.seek(0)
        facts = compress(source, sink)
    rewrite(made, made.manifest.model_copy(update={"files": {**made.manifest.files, DUMP: facts}}))


def rewrite(made: Made, manifest: Manifest) -> None:
    (made.folder / MANIFEST).write_bytes(manifest.to_bytes())


def test_a_backup_of_everything_restores_without_a_difference(
    drilled: tuple[Made, DrillReport],
) -> None:
    made, report = drilled

    assert report.differences == ()
    assert report.outcome == "passed"
    assert report.rows == made.manifest.rows > 400
    assert report.tables == len(made.manifest.tables)
    assert report.large_objects == 2
    assert report.catalog_rows > 100


def test_a_drill_measures_each_phase_of_a_recovery(drilled: tuple[Made, DrillReport]) -> None:
    _, report = drilled

    phases = {"verify", "initdb", "roles", "restore", "analyze", "compare", "probe"}
    assert set(report.phases_s) == phases
    assert all(seconds > 0 for seconds in report.phases_s.values())
    assert 0 < report.recovery_s < report.duration_s


def test_a_drill_is_recorded_beside_the_set(drilled: tuple[Made, DrillReport]) -> None:
    made, report = drilled
    backup = read_backup(made.store, "sample db", made.label)

    assert backup.drilled == report
    assert backup.passed_drill
    assert {p.name for p in made.folder.iterdir()} == {*made.manifest.files, MANIFEST}


def test_a_stale_materialized_view_is_a_note(drilled: tuple[Made, DrillReport]) -> None:
    """A restore computes it anew; that is no fault of the backup."""
    _, report = drilled

    assert [note for note in report.notes if "app.stale was stale" in note]
    assert not [note for note in report.notes if "app.fresh" in note]


def test_one_changed_letter_is_found_where_counts_are_equal(
    copied: Made, tools: PostgresTools
) -> None:
    """pg_restore loads it with exit code 0 and as many rows as before."""
    forge(copied, b"case 77\t", b"case 7X\t")

    with pytest.raises(DifferenceError) as caught:
        drill(copied.store, copied.label, tools=tools)

    assert caught.value.detail == "table app.cases has 100 rows as before, but other content"
    backup = read_backup(copied.store, "sample db", copied.label)
    assert backup.drilled
    assert backup.drilled.outcome == "failed"
    assert not backup.passed_drill
    # The bytes are what they were said to be: it is not damaged, it is wrong.
    assert backup.verified
    assert backup.verified.outcome == "passed"


def test_a_policy_that_changes_its_meaning_is_found(copied: Made, tools: PostgresTools) -> None:
    forge(copied, b"AS RESTRICTIVE FOR UPDATE", b"AS PERMISSIVE  FOR UPDATE")

    with pytest.raises(DifferenceError) as caught:
        drill(copied.store, copied.label, tools=tools)

    assert "policy app.cases.cases_never_closed was: restrictive" in (caught.value.detail or "")


def test_a_sequence_that_would_repeat_numbers_is_found(copied: Made, tools: PostgresTools) -> None:
    forge(copied, b"setval('app.cases_id_seq', 500", b"setval('app.cases_id_seq', 100")

    with pytest.raises(DifferenceError, match="does not restore") as caught:
        drill(copied.store, copied.label, tools=tools)

    assert caught.value.detail == "sequence app.cases_id_seq would give 105 next, before 505"


def test_a_role_that_is_missing_from_the_backup_fails_the_drill(
    copied: Made, tools: PostgresTools
) -> None:
    """Without its role a policy is lost, and PostgreSQL restores the rest."""
    path = copied.folder / "globals.sql"
    lines = [line for line in path.read_text().splitlines() if "sample_reader" not in line]
    path.write_text("\n".join(lines))
    facts = FileFacts(
        size_bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    files = {**copied.manifest.files, "globals.sql": facts}
    rewrite(copied, copied.manifest.model_copy(update={"files": files}))

    with pytest.raises(DifferenceError) as caught:
        drill(copied.store, copied.label, tools=tools)

    assert 'role "sample_reader" does not exist' in (caught.value.detail or "")


def test_a_check_that_only_works_with_a_search_path_fails_the_drill(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """The dump succeeds; its rows would be lost at the restore."""
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE FUNCTION helper(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 > 0';"
            "CREATE FUNCTION fine(int) RETURNS bool LANGUAGE plpgsql"
            " AS 'BEGIN RETURN helper($1); END';"
            "ALTER TABLE one ADD CHECK (fine(i))"
        )
    store = LocalStore(tmp_path)
    manifest = dump(small, store, tools=tools)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    assert "function helper(integer) does not exist" in (caught.value.detail or "")


def test_a_view_that_row_security_empties_at_the_restore_fails_the_drill(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute(
            "ALTER TABLE one OWNER TO sample_owner; ALTER TABLE one ENABLE ROW LEVEL SECURITY;"
            "ALTER TABLE one FORCE ROW LEVEL SECURITY; GRANT CREATE ON SCHEMA public TO PUBLIC;"
            "SET ROLE sample_owner; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM one"
        )
    store = LocalStore(tmp_path)
    manifest = dump(small, store, tools=tools)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    assert "row-level security" in (caught.value.detail or "")


def test_a_damaged_backup_is_not_even_tried(copied: Made, tools: PostgresTools) -> None:
    with (copied.folder / DUMP).open("ab") as file:
        file.write(b"x")

    with pytest.raises(BackupDamagedError):
        drill(copied.store, copied.label, tools=tools)


def test_programs_that_do_not_fit_prove_nothing(copied: Made, tools: PostgresTools) -> None:
    other = wheel_tools(18 if tools.major != 18 else 16)

    with pytest.raises(UnverifiedError, match="cannot be drilled with these programs"):
        drill(copied.store, copied.label, tools=other)

    assert read_backup(copied.store, "sample db", copied.label).drilled is None


def test_an_extension_that_is_not_installed_here_proves_nothing(
    copied: Made, tools: PostgresTools
) -> None:
    data = json.loads(copied.manifest.to_bytes())
    data["extensions"].append({"name": "not_here", "version": "1"})
    rewrite(copied, Manifest.model_validate_json(json.dumps(data)))

    with pytest.raises(UnverifiedError, match="extensions are missing") as caught:
        drill(copied.store, copied.label, tools=tools)

    assert "not_here" in (caught.value.detail or "")
    assert read_backup(copied.store, "sample db", copied.label).drilled is None


def test_an_interrupted_drill_leaves_no_server_and_no_folder(
    copied: Made, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="t-"))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def interrupt(progress: object) -> None:
        if getattr(progress, "phase", "") == "comparing":
            assert list(scratch.iterdir())
            raise TerminatedError

    with pytest.raises(TerminatedError):
        drill(copied.store, copied.label, tools=tools, on_progress=interrupt)

    assert list(scratch.iterdir()) == []
    scratch.rmdir()


def test_several_jobs_load_the_same(
    made: Made, cluster: Conninfo, tools: PostgresTools, empty_database: Conninfo, tmp_path: Path
) -> None:
    load_archive(made.store, made.manifest, empty_database, tools, scratch=tmp_path, jobs=2)

    with connect(empty_database, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM app.cases") == 100
    assert list(tmp_path.iterdir()) == []


def test_the_database_under_development_survives_dump_and_drill(
    database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)

    manifest = dump(database.replace(user="case_backup"), store, tools=tools)

    assert manifest.migration_head
    report = drill(store, manifest.label, tools=tools)
    assert report.outcome == "passed"
    # This version's roles were applied to it as well.
    assert "access" in report.phases_s


@pytest.mark.parametrize("phase", ["making a throwaway cluster", "restoring"])
def test_a_store_that_goes_away_meanwhile_says_nothing_of_the_backup(
    copied: Made, tools: PostgresTools, phase: str
) -> None:
    """Before the catalog is read, and before the archive is."""
    gone = copied.store.root.with_name("gone")

    def unmounting(step: Progress) -> None:
        if step.phase == phase:
            copied.store.root.rename(gone)

    with pytest.raises(UnverifiedError, match="the store cannot be read"):
        drill(copied.store, copied.label, tools=tools, with_access=False, on_progress=unmounting)

    assert read_backup(LocalStore(gone), "sample db", copied.label).drilled is None


def test_a_file_that_somebody_removes_meanwhile_is_damage(
    copied: Made, tools: PostgresTools
) -> None:
    def removing(step: Progress) -> None:
        if step.phase == "making a throwaway cluster":
            (copied.folder / GLOBALS).unlink()

    with pytest.raises(BackupDamagedError) as caught:
        drill(copied.store, copied.label, tools=tools, with_access=False, on_progress=removing)

    assert caught.value.detail == f"{GLOBALS} is missing."


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("ro", "Read-only file system"),
        ("nr_inodes=1", "No space left on device"),
        # Enough for the folder, and for little in it.
        ("nr_inodes=2", "No space left on device"),
        ("nr_inodes=3", "No space left on device"),
        ("nr_inodes=9", "No space left on device"),
    ],
)
def test_a_scratch_folder_that_takes_no_cluster_says_nothing_of_the_backup(
    copied: Made, tools: PostgresTools, tmp_path: Path, options: str, why: str
) -> None:
    with small_disk(tmp_path / "small", 64) as disk:
        disk.remount(options)

        with pytest.raises(UnverifiedError, match="could not be run") as caught:
            drill(copied.store, copied.label, tools=tools, scratch=disk.path, with_access=False)

        assert list(disk.path.iterdir()) == []
    assert str(disk.path) in (caught.value.detail or "")
    assert why in (caught.value.detail or "")
    assert "--scratch" in (caught.value.hint or "")


def test_an_initdb_without_room_is_called_so(
    copied: Made, tools: PostgresTools, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "small", 8) as disk,
        pytest.raises(UnverifiedError, match="no throwaway cluster") as caught,
    ):
        drill(copied.store, copied.label, tools=tools, scratch=disk.path, with_access=False)

    first, *rest = (caught.value.detail or "").splitlines()
    assert first.startswith("initdb failed")
    assert "No space left on device" in first
    assert rest
    assert "--scratch" in (caught.value.hint or "")
