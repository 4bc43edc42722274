"""Which PostgreSQL `make test-all` runs with: the folder of each one's programs, a line each.

With --say: for people, also which of the majors that we serve this machine lacks.
"""

import sys
from pathlib import Path

from casedb.tools import PostgresTools, tools_in, wheel_tools

SERVED = (15, 16, 17, 18)
_INSTALLED = Path("/usr/lib/postgresql")
_UNPACKED = Path("/var/cache/casedb-debian-13/usr/lib/postgresql")
"""Where tests/debian13.sh puts what the machine's own release does not have."""
_IN_WHEEL = (16, 18)


def found(*places: Path) -> list[tuple[int, Path]]:
    """Return major and folder of each that this machine has, of one major the wheel's as well.

    Of what is in several places, as Debian lays them out, the first counts.
    """
    candidates = [place / str(major) / "bin" for place in places for major in SERVED]
    ours: dict[int, Path] = {}
    for folder in candidates:
        if (folder / "postgres").exists():
            ours.setdefault(int(folder.parent.name), folder)
    return sorted([*ours.items(), *((major, wheel_tools(major).bindir) for major in _IN_WHEEL)])


def tools_at(folder: Path) -> PostgresTools:
    """Return the programs in `folder`; those of the wheel as its own, also when named by folder."""
    for major in _IN_WHEEL:
        if folder.resolve() == (ours := wheel_tools(major)).bindir.resolve():
            return ours
    return tools_in(folder)


def said(majors: set[int]) -> str:
    """Return in words which majors the tests run with, and which not."""
    lacking = [str(major) for major in SERVED if major not in majors]
    words = f"tested with PostgreSQL {', '.join(map(str, sorted(majors)))}"
    if lacking:
        words += f"; NOT with {', '.join(lacking)}: this machine has no server of it"
    return words


if __name__ == "__main__":
    here = found(_INSTALLED, _UNPACKED)
    if "--say" in sys.argv:
        print(said({major for major, _ in here}))
    else:
        print("\n".join(str(folder) for _, folder in here))
