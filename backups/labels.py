"""A backup's label: which database, taken when. It names and sorts; it never decides an age."""

import re
from datetime import UTC, datetime
from urllib.parse import quote, unquote

_LABEL = re.compile(r"(?P<folder>.+)-(?P<stamp>\d{8}T\d{6}Z)")
_STAMP = "%Y%m%dT%H%M%SZ"


def label_of(database: str, taken_at: datetime) -> str:
    """Return the label of a backup of `database` begun at `taken_at`, to the second, in UTC.

    >>> label_of("case_management", datetime(2026, 11, 22, 16, tzinfo=UTC))
    'case_management-20261122T160000Z'
    """
    return f"{folder_of(database)}-{taken_at.astimezone(UTC).strftime(_STAMP)}"


def taken_at_of(label: str) -> datetime | None:
    """Return when a label says that its backup was begun, in UTC; None if it is no label of ours.

    >>> taken_at_of("case_management-20261122T160000Z").isoformat()
    '2026-11-22T16:00:00+00:00'
    """
    found = _LABEL.fullmatch(label)
    try:
        return datetime.strptime(found["stamp"], _STAMP).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def report_label(database: str, backup: str | None, at: datetime) -> tuple[str, str]:
    """Return the database whose folder keeps a report, and the report's name there.

    `backup` is what the report has to do with; its folder is there, even where the restored
    database has another name.

    >>> report_label("copy", "cases-20261122T160000Z", datetime(2026, 11, 23, tzinfo=UTC))
    ('cases', 'cases-20261123T000000Z')
    """
    home = (database_of(backup) if backup else None) or database
    return home, label_of(home, at)


def folder_of(database: str) -> str:
    """Return the database's name as a folder's name: PostgreSQL allows slashes and leading dots.

    >>> folder_of("../tricky")
    '%2E.%2Ftricky'
    """
    quoted = quote(database, safe=" @+=,")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def database_of_folder(folder: str) -> str:
    """Return the database's name that `folder_of` turned into `folder`."""
    return unquote(folder)


def database_of(label: str) -> str | None:
    """Return the database that `label` names, or None if it is no label of ours."""
    found = _LABEL.fullmatch(label)
    return database_of_folder(found["folder"]) if found else None
