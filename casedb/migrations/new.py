"""A new migration: the pair of files, with the next number."""

import re
from pathlib import Path

from casedb.errors import ConfigurationError, UsageError
from casedb.migrations.files import read_folder

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def new(name: str, *, source: Path) -> tuple[Path, Path]:
    """Write the next migration and its rollback into `source` and return their paths.

    They hold comments and no statement yet: until they do, every `migrate` refuses the folder.

    Raises:
        UsageError: `name` is not verb-object.
        ConfigurationError: the folder is not what it should be, or has been installed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" is not the name of a migration',
            hint="Name it verb-object, in lower case: add-deadline, index-case-logs.",
        )
    if "_shipped" in source.parts:
        raise ConfigurationError(
            f"{source} belongs to an installed casedb",
            hint="Work in a checkout, or name your own folder with --source.",
        )
    files = read_folder(source)
    number = max((int(file.id[:4]) for file in files), default=0) + 1
    id_ = f"{number:04}-{name}"
    depends = f"-- depends: {files[-1].id}\n" if files else ""
    path, rollback = source / f"{id_}.sql", source / f"{id_}.rollback.sql"
    _write(path, f"-- Why: a sentence about what this is for.\n{depends}\n")
    _write(rollback, "-- Loses: a sentence about what is lost, or that nothing is.\n\n")
    return path, rollback


def _write(path: Path, text: str) -> None:
    try:
        # "x": another `new` at the same moment must not overwrite this one's file.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written", detail=f"{error}.") from error
