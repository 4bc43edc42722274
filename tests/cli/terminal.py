"""A command on a terminal, as a person has it, and what is shown there."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cli.conftest import Casedb

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WHERE = "\x1b[6n"


@dataclass(frozen=True)
class Terminal:
    """The other end of what a command writes to and reads from."""

    process: "subprocess.Popen[bytes]"
    master: int

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read_until(self, wanted: str) -> str:
        """Read what is shown until there is what the pattern `wanted` says; return it all."""
        seen = ""
        deadline = time.monotonic() + 120
        while not re.search(wanted, _ESCAPES.sub("", seen)):
            assert time.monotonic() < deadline, seen[-2000:]
            if select.select([self.master], [], [], 1)[0]:
                seen += os.read(self.master, 4096).decode(errors="replace")
                # A terminal answers when it is asked where the cursor is; pgcli waits for that.
                if _WHERE in seen:
                    seen = seen.replace(_WHERE, "")
                    self.type(b"\x1b[1;1R")
        return seen


@contextmanager
def on_a_terminal(casedb: Casedb, *words: str, **environment: str) -> Iterator[Terminal]:
    """Run `casedb` on a terminal of its own; killed with the block."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        casedb.argv(*words),
        cwd=casedb.folder,
        env=casedb.environ(**environment),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
