"""Huge pages for a tuned server, which `casedb host apply` has the kernel reserve."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.kernel import huge_pages

_RESERVED = Path("/proc/sys/vm/nr_hugepages")
_MEMINFO = Path("/proc/meminfo")


@contextmanager
def reserved(settings: Mapping[str, str]) -> Iterator[str | None]:
    """Reserve what a server with `settings` asks for, beside what there is, for the block.

    Yields why that did not come off, None if it did. A server that only tries for them does
    without.
    """
    try:
        before = int(_RESERVED.read_text())
        wanted = huge_pages(settings, page_bytes=_page_bytes())
        _RESERVED.write_text(str(before + wanted))
    except OSError as error:
        yield f"{error.filename}: {error.strerror}"
        return
    try:
        found = int(_RESERVED.read_text()) - before
        yield None if found >= wanted else f"the kernel found room for {found} of {wanted}"
    finally:
        _RESERVED.write_text(str(before))


def _page_bytes() -> int:
    lines = (line.split() for line in _MEMINFO.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "Hugepagesize:")
