"""Huge pages for a tuned server, which `casedb host apply` has the kernel reserve."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

from deploy.kernel import huge_pages

_RESERVED = Path("/proc/sys/vm/nr_hugepages")
_MEMINFO = Path("/proc/meminfo")
# Waits until nobody holds its standard input any more, however they ended.
_GIVE_BACK = 'cat && echo "$1" >"$2"'


@contextmanager
def reserved(settings: Mapping[str, str]) -> Iterator[str | None]:
    """Reserve what a server with `settings` asks for, beside what there is, for the block.

    Yields why that did not come off, None if it did. A server that only tries for them does
    without. A kill gives them back as well.
    """
    try:
        before = int(_RESERVED.read_text())
        wanted = huge_pages(settings, page_bytes=_page_bytes())
    except OSError as error:
        yield _said(error)
        return
    if not wanted:
        yield None
        return
    argv = ["sh", "-c", _GIVE_BACK, "sh", str(before), str(_RESERVED)]
    with subprocess.Popen(argv, stdin=PIPE, stderr=DEVNULL, start_new_session=True):
        # When it is left, the program's input is closed, and it is waited for.
        yield _taken(before, wanted)


def _taken(before: int, wanted: int) -> str | None:
    try:
        _RESERVED.write_text(str(before + wanted))
        found = int(_RESERVED.read_text()) - before
    except OSError as error:
        return _said(error)
    return None if found >= wanted else f"the kernel found room for {found} of {wanted}"


def _said(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"


def _page_bytes() -> int:
    lines = (line.split() for line in _MEMINFO.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "Hugepagesize:")
