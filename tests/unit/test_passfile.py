"""The passfile is what libpq reads, and nobody else does."""

from pathlib import Path

from casedb.passfile import read_passfile, write_passfile


def test_what_is_written_is_read_again_whatever_letters_it_has(tmp_path: Path) -> None:
    passwords = {"postgres": "plain", "a:b": r"c:o\l:o\n"}

    write_passfile(tmp_path / "pgpass", passwords)

    assert read_passfile(tmp_path / "pgpass") == passwords


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    write_passfile(tmp_path / "pgpass", {"postgres": "x"})

    assert (tmp_path / "pgpass").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["pgpass"]


def test_no_file_means_no_passwords(tmp_path: Path) -> None:
    assert read_passfile(tmp_path / "pgpass") == {}
