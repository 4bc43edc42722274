"""Where the SQL lies: the checkout's own folders, or those a wheel carries."""

from functools import cache
from pathlib import Path
from typing import LiteralString

from casedb.errors import ConfigurationError

_PACKAGE = Path(__file__).parent
# The checkout first: beside an editable install, a copy in site-packages would be stale.
_ROOTS = (_PACKAGE.parent, _PACKAGE / "_shipped")


def folder(name: str) -> Path:
    """Return the folder `migrations` or `sql`, or one below, as a path.

    Raises:
        ConfigurationError: if this installation lacks it.
    """
    for root in _ROOTS:
        if (root / name).is_dir():
            return root / name
    raise ConfigurationError(
        f"the folder {name} is missing from this installation",
        detail=f"Looked in {' and '.join(str(root) for root in _ROOTS)}.",
        hint="Install casedb again, or work in a complete checkout.",
    )


@cache
def read_sql(name: str) -> LiteralString:
    """Return the text of one file below `sql/`, such as "catalog/lock-holder.sql".

    Our own files are as trusted as our code, which is what psycopg's LiteralString asks for.
    """
    path = folder("sql") / name
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the file sql/{name} is missing from this installation",
            detail=f"{path}: {error.strerror}.",
            hint="Install casedb again, or work in a complete checkout.",
        ) from error
