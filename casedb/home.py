"""The folder of a checkout that is never committed: passwords and the local store."""

from pathlib import Path

from casedb.errors import ConfigurationError


def prepare_home(home: Path) -> None:
    """Make `home` and its local store with mode 0700, and keep git out of it; safe to repeat.

    Raises:
        ConfigurationError: it cannot be made or written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Passwords and backups never reach a commit, wherever the home lies.
        ignore = home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        # The local store: elsewhere a missing folder is a disk that is not mounted.
        (home / "backups").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable(home, error) from error


def unusable(home: Path, error: OSError) -> ConfigurationError:
    """Return the error for a home that cannot be made or written."""
    return ConfigurationError(
        f"the folder {home} cannot be made or written",
        detail=f"{error.strerror}.",
        hint="Choose another with --data-dir or CASEDB_DATA_DIR.",
    )
