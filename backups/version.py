"""Which version of this tool wrote something."""

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """Return casedb's version; "0" where it is not installed, as in a bare checkout."""
    try:
        return version("casedb")
    except PackageNotFoundError:
        return "0"
