"""make test-all runs every PostgreSQL that there is, and says which of ours it did not."""

from pathlib import Path

from tests.majors import found, said, tools_at


def test_what_debian_has_installed_is_found_beside_the_wheels(tmp_path: Path) -> None:
    (tmp_path / "15" / "bin").mkdir(parents=True)
    _put_postgres(tmp_path, "17")

    assert [major for major, _ in found(tmp_path)] == [16, 17, 18]


def test_what_is_installed_comes_before_what_is_unpacked(tmp_path: Path) -> None:
    installed, unpacked = tmp_path / "installed", tmp_path / "unpacked"
    ours = [_put_postgres(installed, "15"), _put_postgres(unpacked, "17")]
    _put_postgres(unpacked, "15")

    assert [folder for major, folder in found(installed, unpacked) if major in {15, 17}] == ours


def test_a_major_that_is_lacking_is_said() -> None:
    assert said({15, 16, 18}) == (
        "tested with PostgreSQL 15, 16, 18; NOT with 17: this machine has no server of it"
    )
    assert said({15, 16, 17, 18}) == "tested with PostgreSQL 15, 16, 17, 18"


def test_a_wheel_is_known_by_its_folder_too() -> None:
    """Or tests that need a full server would run, and fail, where there is none."""
    assert {tools_at(folder).source for _, folder in found()} == {"wheel"}


def _put_postgres(place: Path, major: str) -> Path:
    folder = place / major / "bin"
    folder.mkdir(parents=True)
    (folder / "postgres").touch()
    return folder
