"""An archive through a pipe into a database: the rows by one job, what follows by several."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from backups import pg_restore
from backups.archive import raw_archive
from backups.manifest import FileFacts
from backups.sealing import Keys
from backups.streams import HashingReader
from backups.toc import begun
from backups.toc_completed import for_one_job
from casedb.conninfo import Conninfo

_UP_TO_ROWS = ("--section=pre-data", "--section=data")
_AFTER_ROWS = "--section=post-data"


def load(
    source: BinaryIO,
    target: Conninfo,
    argv: Sequence[str],
    keys: Keys | None = None,
    tell: Callable[[], None] = lambda: None,
    *,
    jobs: int | None = None,
) -> FileFacts:
    """Feed a compressed archive to `argv`, a pg_restore that reads standard input.

    With `keys` it is encrypted besides; the checksum is of what lies in the store. `tell` is
    called every now and then.

    With `jobs` all that is in it is loaded, and nothing is there yet: then the rows come frozen. A
    pipe has one reader, but what follows the rows, indexes above all, needs the archive's head
    alone, which holds no rows: it stays in memory for a second pg_restore with that many jobs.

    Raises:
        UnreadableArchiveError: if age or zstd cannot read it.
        ToolFailedError: if pg_restore fails.
    """
    reader = HashingReader(source)
    with raw_archive(reader, keys) as chunks:
        head, rest = begun(chunks) if jobs else (b"", chunks)
        in_two = head and jobs and jobs > 1 and hasattr(os, "memfd_create")
        pg_restore.run(
            [*argv, *(_UP_TO_ROWS if in_two else ())],
            target=target,
            chunks=itertools.chain([for_one_job(head)], rest),
            tell=tell,
        )
    if in_two:
        with _in_memory(head) as descriptor:
            words = [_AFTER_ROWS, f"--jobs={jobs}", f"/dev/fd/{descriptor}"]
            pg_restore.run([*argv, *words], target=target, descriptor=descriptor, tell=tell)
    return reader.facts()


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("casedb-archive-head")
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield descriptor
