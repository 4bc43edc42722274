"""--pooler: the console that a restore pauses, by option, by settings, or none."""

from pathlib import Path

import pytest

from casedb.cli.options import pooler_of
from casedb.errors import UsageError
from casedb.settings import Settings, read_settings


def settings(folder: Path, text: str) -> Settings:
    (folder / "casedb.toml").write_text(text)
    return read_settings(options={}, environment={}, folder=folder)


def test_the_settings_name_the_console_and_an_option_another_one(tmp_path: Path) -> None:
    found = settings(tmp_path, 'pooler = "host=/run/pgbouncer dbname=pgbouncer"')

    by_settings, by_option = pooler_of(found, None), pooler_of(found, "host=elsewhere")

    assert by_settings
    assert by_option
    assert by_settings.get("host") == "/run/pgbouncer"
    assert by_option.get("host") == "elsewhere"


def test_an_empty_option_goes_on_without_the_one_of_the_settings(tmp_path: Path) -> None:
    assert pooler_of(settings(tmp_path, 'pooler = "host=/run/pgbouncer"'), "") is None
    assert pooler_of(settings(tmp_path, ""), None) is None


def test_a_password_among_its_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a password among the words") as caught:
        pooler_of(settings(tmp_path, ""), "host=x password=do-not-show")

    assert "do-not-show" not in str(caught.value)
