"""`casedb dump` writes rows in the format, and at the level, that options or settings ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.large_tables import LARGE_FROM_BYTES
from backups.streams import decompressed
from casedb.conninfo import Conninfo
from casedb.database import connect
from tests.backups.binary_tables import in_binary
from tests.cli.conftest import Casedb


@pytest.fixture(scope="module")
def large(brought_up: Casedb) -> Iterator[Conninfo]:
    """The superuser's conninfo of a database with a large table of hashes."""
    target = brought_up.server.conninfo(dbname="case_management", user="postgres")
    rows = LARGE_FROM_BYTES // 100
    with connect(target, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE large AS SELECT sha256(i::text::bytea) AS hash,"
            " format('%s of %s was closed by %s, and reopened by %s', i % 7 * 311, i * 31 % 1009,"
            " i * 17 % 101, i * 13 % 57) AS t"
            f" FROM generate_series(1, {rows}) AS i".encode()
        )
    yield target
    with connect(target, purpose="test") as connection:
        connection.execute("DROP TABLE large")


def dumped(casedb: Casedb, store: Path, *words: str) -> bytes:
    """The compressed archive that a dump with `words` puts into a new store."""
    result = casedb("dump", f"--store={store}", *words)
    assert result.code == 0, result.err
    (archive,) = store.rglob("database.dump*")
    return archive.read_bytes()


@pytest.mark.parametrize(
    ("words", "setting", "binary"),
    [
        ((), {}, {"large"}),
        (("--copy-format=text",), {}, set()),
        ((), {"CASEDB_DUMP_COPY_FORMAT": "text"}, set()),
        (("--copy-format=auto",), {"CASEDB_DUMP_COPY_FORMAT": "text"}, {"large"}),
    ],
)
def test_rows_are_in_the_format_that_is_asked_for(
    large: Conninfo,
    brought_up: Casedb,
    tmp_path: Path,
    words: tuple[str, ...],
    setting: dict[str, str],
    binary: set[str],
) -> None:
    command = Casedb(brought_up.folder, brought_up.tools, setting)
    archive = tmp_path / "archive"
    archive.write_bytes(dumped(command, tmp_path / "store", *words))

    with archive.open("rb") as file:
        assert in_binary(b"".join(decompressed(file))) == binary


def test_a_higher_level_makes_it_smaller(
    large: Conninfo, brought_up: Casedb, tmp_path: Path
) -> None:
    by_setting = Casedb(brought_up.folder, brought_up.tools, {"CASEDB_DUMP_COMPRESS": "9"})

    sizes = [
        len(dumped(brought_up, tmp_path / "usual")),
        len(dumped(by_setting, tmp_path / "set")),
        len(dumped(brought_up, tmp_path / "asked", "--compress=9")),
    ]

    assert max(sizes[1:]) < sizes[0]


@pytest.mark.parametrize("words", [("--compress=0",), ("--compress=20",), ("--copy-format=csv",)])
def test_others_are_refused(brought_up: Casedb, words: tuple[str, ...]) -> None:
    assert brought_up("dump", *words).code == 2


@pytest.mark.parametrize(
    "setting", [{"CASEDB_DUMP_COMPRESS": "20"}, {"CASEDB_DUMP_COPY_FORMAT": "csv"}]
)
def test_other_settings_are_refused(brought_up: Casedb, setting: dict[str, str]) -> None:
    result = Casedb(brought_up.folder, brought_up.tools, setting)("dump")

    assert result.code == 3
    (name,) = setting
    assert f'"{name.removeprefix("CASEDB_").lower()}"' in result.err
