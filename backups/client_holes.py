"""Which minor versions of PostgreSQL's programs have known holes in dumps. Pure.

What such a hole lets happen: whoever may name an object on the server, or is its superuser, has
commands run where the dump is restored. Dumps are made all the same: an old proven backup is better
than none. Whoever dumps is told, and the manifest keeps it for whoever restores.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Hole:
    """One known hole: where it is described, what it does, and since when it is closed."""

    cve: str
    words: str
    closed_in: MappingProxyType[int, int]
    """The first minor version without it, by major version; a major that is missing never had it.
    """

    @property
    def source(self) -> str:
        """PostgreSQL's own page on it."""
        return f"https://www.postgresql.org/support/security/{self.cve}/"


HOLES = (
    Hole(
        "CVE-2025-8714",
        "a superuser of the dumped server can have psql run commands when the dump is restored",
        # 14 August 2025; 18 was released after it.
        MappingProxyType({15: 14, 16: 10, 17: 6}),
    ),
    Hole(
        "CVE-2025-8715",
        "a line feed in an object's name runs commands and SQL where the dump is restored",
        MappingProxyType({15: 14, 16: 10, 17: 6}),
    ),
    Hole(
        "CVE-2026-18408",
        "the mend of CVE-2025-8714 can be got round with \\unrestrict",
        # 13 August 2026.
        MappingProxyType({15: 19, 16: 15, 17: 11, 18: 6}),
    ),
)


def holes_of(version: str) -> tuple[Hole, ...]:
    """Return the known holes of programs of `version`, as they print it.

    >>> [hole.cve for hole in holes_of("16.9")][:2]
    ['CVE-2025-8714', 'CVE-2025-8715']
    >>> holes_of("15.19"), holes_of("17.11")
    ((), ())
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        # A beta, a release candidate or somebody's own build: nothing is known of it.
        return ()
    major, minor = int(found[1]), int(found[2])
    return tuple(h for h in HOLES if minor < h.closed_in.get(major, 0))


def warnings_of(version: str) -> tuple[str, ...]:
    """Return what to tell whoever dumps with programs of `version`, a sentence each."""
    major = version.split(".")[0]
    return tuple(
        f"pg_dump {version} has {hole.cve}: {hole.words}; closed in "
        f"{major}.{hole.closed_in[int(major)]} ({hole.source})"
        for hole in holes_of(version)
    )
