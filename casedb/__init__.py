"""The case-management database's toolkit: the floor that every room stands on."""


def version() -> str:
    """Return casedb's own version."""
    # What reads it takes as long to import as all that a help text needs.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("casedb")
    except PackageNotFoundError:
        # Run from a bare checkout that nobody installed.
        return "0+unknown"
