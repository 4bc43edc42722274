"""PostgreSQL from its own project's repository (PGDG) instead of Debian's. Pure."""

from collections.abc import Mapping
from typing import Any

URL = "https://apt.postgresql.org/pub/repos/apt"
DEBIAN_KEY = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc"
"""The repository's key as Debian's postgresql-common brings it: as trusted as Debian itself."""

SOURCE_FILE = "/etc/apt/sources.list.d/casedb-pgdg.sources"
PIN_FILE = "/etc/apt/preferences.d/casedb-pgdg.pref"
KEY_FILE = "/etc/apt/keyrings/casedb-pgdg.asc"

PIN = """\
# Written by casedb; a change made here is put back.
# The repository has newer versions of Debian's own packages too: only PostgreSQL comes from there.
Package: *
Pin: release o=apt.postgresql.org
Pin-Priority: 100

Package: postgresql* libpq5 libpq-dev
Pin: release o=apt.postgresql.org
Pin-Priority: 600
"""


def source(wanted: Mapping[str, Any], codename: str, *, own_key: bool) -> str:
    """Return the source for Debian `codename`; `own_key`: the inventory brings the key.

    Raises:
        ValueError: the inventory says something that is not understood.
    """
    if unknown := sorted(set(wanted) - {"url", "key"}):
        raise ValueError(f"pgdg knows url and key, not {', '.join(unknown)}")
    url = str(wanted.get("url", URL))
    if any(character.isspace() for character in url):
        raise ValueError("pgdg's url has no spaces")
    return (
        "# Written by casedb; a change made here is put back.\n"
        "Types: deb\n"
        f"URIs: {url}\n"
        f"Suites: {codename}-pgdg\n"
        "Components: main\n"
        f"Signed-By: {KEY_FILE if own_key else DEBIAN_KEY}\n"
    )
