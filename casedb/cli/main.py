"""The command group, and the one place where an error becomes text and an exit code."""

import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click

from casedb import version
from casedb.cli import streams
from casedb.errors import CasedbError, ExitCode, TerminatedError, UsageError

# The module of each verb and its line in the help, in the order of a working day. The line is said
# again here because the help of all would otherwise import everything that any of them needs.
_COMMANDS = {
    "up": ("casedb.cli.up", "Bring up an embedded PostgreSQL and prove a backup of it."),
    "down": ("casedb.cli.down", "Stop the embedded server and keep its data."),
    "reset": ("casedb.cli.reset", "Start over with an empty development database."),
    "server": ("casedb.cli.server", "The embedded server."),
    "status": ("casedb.cli.status", "Is everything well, and what to do if not."),
    "shell": ("casedb.cli.shell", "Open pgcli on the database, read-only, or as one user."),
    "query": ("casedb.cli.query", "Run one of the back end's queries; without NAME, list them."),
    "explain": ("casedb.cli.explain", "Show the plan of a query, and whether it keeps its budget."),
    "migrate": ("casedb.cli.migrate", "Plan, apply, roll back and list migrations."),
    "seed": ("casedb.cli.seed", "Load sample data: the demo, or invented cases by the million."),
    "dump": ("casedb.cli.dump", "Take one backup, with the proof of what must come back."),
    "backups": ("casedb.cli.backups", "List the backups: age, size, when proven, restores in."),
    "verify": ("casedb.cli.verify", "Check every byte of a backup against its manifest."),
    "drill": ("casedb.cli.drill", "Restore a backup for real, and compare everything."),
    "rotate": ("casedb.cli.rotate", "Delete expired backups; only says which without --apply."),
    "expire": ("casedb.cli.expire", "Delete one backup by its label, whatever the rules keep."),
    "report-failure": ("casedb.cli.report_failure", "Tell of a run of VERB that systemd saw fail."),
    "restore": ("casedb.cli.restore", "Restore a backup: beside what is there, then swap."),
    "undo-restore": ("casedb.cli.undo_restore", "Swap the database back that a restore replaced."),
    "drop-kept": ("casedb.cli.drop_kept", "Remove a database that a restore has kept."),
    "documents": ("casedb.cli.documents", "Compare the cases' documents with their objects in S3."),
    "audit": ("casedb.cli.audit", "Check the audit trail, or read one case's history."),
    "access": ("casedb.cli.access", "Probe what each role may do, against what is expected."),
    "key": ("casedb.cli.key", "Keys for encrypted backups."),
    "host": (
        "casedb.cli.host",
        "Make Debian hosts into PostgreSQL servers, prove it, and see how they stand.",
    ),
    "tune": ("casedb.cli.tune", "Print PostgreSQL settings for a machine, each with its reason."),
    "rehearse": ("casedb.cli.rehearse", "Real Debian hosts in Docker, to practise on."),
    "bench": ("casedb.cli.bench", "Measure what casedb promises, against the plan's scripts."),
    "compose": ("casedb.cli.compose", "The local stack with Docker: PostgreSQL and pgAdmin."),
    "mark": ("casedb.cli.mark", "Show or set what the database is for."),
    "check": ("casedb.cli.check", "Check a live database."),
    "prisma": ("casedb.cli.prisma", "The back end's contract."),
    "config": ("casedb.cli.config", "Settings."),
}


class _VerbGroup(click.Group):
    """Imports a verb's module when it is asked for: one verb does not pay for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _line = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        global _begun
        _begun = True
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_module, line) in _COMMANDS.items()])


def _tell_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"casedb {version()}")
        ctx.exit()


@click.group(
    cls=_VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version and exit.",
)
@click.pass_context
def casedb(ctx: click.Context, debug: bool) -> None:
    """A case-management database, from a bare host to a proven restore.

    \b
    Example:
        casedb up
    """
    ctx.obj = {"debug": debug}


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; see casedb/errors.py for the codes."""
    streams.settle()
    words = sys.argv[1:] if argv is None else argv
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # What is ignored, as SIGHUP is under nohup, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
            _heard.append(number)
    sys.exit(run(words))


def run(words: list[str]) -> int:
    """Run one command line; return its exit code. Every failure is printed, none is raised."""
    streams.has_document = False
    try:
        code = _run(words)
        _hear_no_more()
    except KeyboardInterrupt as error:
        # In the moment between the end of the verb and what is said of it.
        code = _interrupted(error)
    return code


def _run(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        result = casedb.main(args=words, prog_name="casedb", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if "--json" in words:
            _show_json(error)
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt) as error:
        return _interrupted(_interrupt_behind(error) or error)
    except CasedbError as error:
        _show(error, debug=debug, as_json="--json" in words)
        return int(error.exit_code)
    except SystemExit as error:
        # How Click ends `casedb backups | head`: the reader has seen enough, and is told nothing
        # more. Whether all was done is not known here, and 0 would say so.
        return int(ExitCode.UNREAD) if _stopped_by is None else _interrupted(error)
    except Exception as error:
        unexpected = CasedbError(
            f"unexpected {type(error).__name__}",
            detail=str(error),
            hint="This is a fault of casedb. `casedb --debug ...` shows where it happened.",
        )
        _show(unexpected, debug=debug, as_json="--json" in words)
        return int(ExitCode.UNEXPECTED)
    return result if isinstance(result, int) else int(ExitCode.WELL)


def _show(error: CasedbError, *, debug: bool, as_json: bool) -> None:
    # What has failed is said to its end, with its own exit code.
    _hear_no_more()
    # Tables and the driver are not for who only asks for help.
    from casedb.cli.output import print_error

    if debug:
        traceback.print_exc()
    # When nobody reads it, the exit code is the only word that is heard: it has to be right.
    with suppress(BrokenPipeError):
        print_error(error, as_json=as_json)


def _show_json(error: click.ClickException) -> None:
    from casedb.cli.output import print_json_error

    with suppress(BrokenPipeError):
        print_json_error(
            UsageError(error.format_message(), hint="`casedb VERB --help` says what it takes.")
        )


def _interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interrupt that `error` came of, if any: click makes it an Abort."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__context__
    return seen


_begun = False
"""Whether a verb may have begun: before, its module and the libraries are being loaded."""

_stopped_by: int | None = None
_heard: list[int] = []


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """Stop what goes on, once: a second signal would cut short what cleans up after the first.

    People press Ctrl-C twice, and a terminal that is closed may send SIGHUP twice. An exception in
    the middle of an import is another matter: a library of Rust was seen to panic of it.
    """
    global _stopped_by
    if not _begun:
        word, code = _stopped(number)
        with suppress(OSError):
            os.write(2, f"\n{word}; nothing had been begun\n".encode())
        os._exit(code)
    if _stopped_by is None:
        _stopped_by = number
        raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError


def _hear_no_more() -> None:
    """Let the outcome stand, whatever signal comes while it is told.

    Python gives signals their default back when it ends: one of that moment would make a failure of
    what was done and told.
    """
    for number in _heard:
        signal.signal(number, signal.SIG_IGN)


def _stopped(number: int | None) -> tuple[str, ExitCode]:
    if number in (None, signal.SIGINT):
        return "interrupted", ExitCode.INTERRUPTED
    return "terminated", ExitCode.TERMINATED


def _interrupted(error: BaseException) -> int:
    word, code = _stopped(_stopped_by)
    notes = getattr(error, "__notes__", [])
    told = ", except for this:" if notes else ""
    click.echo(f"\n{word}; what was half done has been cleaned up{told}", err=True)
    for note in notes:
        click.echo(note, err=True)
    return int(code)
