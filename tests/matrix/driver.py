"""Run `casedb` as it is, and stop it at a place: driver.py PLACE MARKER WORD...

PLACE is "nowhere"; "step:NAME" or "step:NAME:N", a step of the progress that is shown, or its first
with N or more done; "event:NAME:PART" or "event:NAME:PART:N", the N-th audit event (sys.audit) of
that name with PART, a regular expression, among its arguments, just before it is carried out. There
the file MARKER is made, and the main thread waits until it is gone. DRIVER_S3_ATTEMPTS is how often
a request to an S3 server is tried, DRIVER_S3_LIFETIME_S how long a lock or a lease holds there, and
how long what was sent may take to come; with DRIVER_S3_PART_BYTES parts are so long, and one is on
its way at a time.
"""

import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from casedb.cli.main import main

_busy = False


def _stop(marker: Path) -> None:
    global _busy
    _busy = True
    marker.touch()
    while marker.exists():
        time.sleep(0.02)
    _busy = False


def _stop_at_step(verb: str, name: str, least: int, marker: Path) -> None:
    module = importlib.import_module(f"casedb.cli.{verb}")
    passed = False

    @contextlib.contextmanager
    def progress(_what: str) -> Iterator[Callable[[object], None]]:
        def tell(step: object) -> None:
            nonlocal passed
            if not passed and getattr(step, "phase", step) == name:
                if getattr(step, "done", 0) < least:
                    return
                passed = True
                _stop(marker)

        yield tell

    module.progress = progress  # type: ignore[attr-defined]


def _stop_at_event(name: str, part: str, nth: int, marker: Path) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event != name or _busy or not re.search(part, " ".join(map(str, arguments))):
            return
        seen += 1
        if seen == nth:
            _stop(marker)

    sys.addaudithook(hook)


def _arrange(place: str, marker: Path, verb: str) -> None:
    kind, *words = place.split(":")
    if kind == "step":
        _stop_at_step(verb, words[0], int(words[1]) if len(words) > 1 else 0, marker)
    elif kind == "event":
        _stop_at_event(words[0], words[1], int(words[2]) if len(words) > 2 else 1, marker)


if attempts := os.environ.get("DRIVER_S3_ATTEMPTS"):
    # A server that is gone is given up after half a minute; too long for each of many cells.
    from casedb import s3

    s3.REQUEST_ATTEMPTS = int(attempts)
if lifetime := os.environ.get("DRIVER_S3_LIFETIME_S"):
    from backups.stores import s3_lease, s3_lock, s3_sweep

    s3_sweep.LATE = timedelta(seconds=float(lifetime))
    for module in (s3_lock, s3_lease):
        vars(module)["LIFETIME"] = s3_sweep.LATE
if part_bytes := os.environ.get("DRIVER_S3_PART_BYTES"):
    # Otherwise all of a small database is read before the first part has come.
    from casedb import s3_streams

    s3_streams.PART_BYTES, s3_streams.STREAMS = int(part_bytes), 1
_arrange(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
main(sys.argv[3:])
