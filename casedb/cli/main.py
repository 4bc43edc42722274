"""The command group, and the one place where an error becomes text and an exit code."""

import importlib
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from casedb import __version__
from casedb.cli.output import print_error
from casedb.errors import CasedbError, ExitCode, TerminatedError

# The order of a working day, which is also the order in the help.
_COMMANDS = {
    "up": "casedb.cli.up",
    "down": "casedb.cli.down",
    "reset": "casedb.cli.reset",
    "server": "casedb.cli.server",
    "status": "casedb.cli.status",
    "shell": "casedb.cli.shell",
    "query": "casedb.cli.query",
    "explain": "casedb.cli.explain",
    "migrate": "casedb.cli.migrate",
    "seed": "casedb.cli.seed",
    "dump": "casedb.cli.dump",
    "backups": "casedb.cli.backups",
    "verify": "casedb.cli.verify",
    "drill": "casedb.cli.drill",
    "rotate": "casedb.cli.rotate",
    "report-failure": "casedb.cli.report_failure",
    "restore": "casedb.cli.restore",
    "undo-restore": "casedb.cli.undo_restore",
    "drop-kept": "casedb.cli.drop_kept",
    "documents": "casedb.cli.documents",
    "audit": "casedb.cli.audit",
    "access": "casedb.cli.access",
    "key": "casedb.cli.key",
    "host": "casedb.cli.host",
    "tune": "casedb.cli.tune",
    "rehearse": "casedb.cli.rehearse",
    "compose": "casedb.cli.compose",
    "mark": "casedb.cli.mark",
    "check": "casedb.cli.check",
    "prisma": "casedb.cli.prisma",
    "config": "casedb.cli.config",
}


class _VerbGroup(click.Group):
    """Imports a verb's module when it is asked for: one verb does not pay for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="casedb", message="%(prog)s %(version)s")
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
    words = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGTERM, _on_terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # The terminal was closed; under nohup that is meant to be ignored.
        signal.signal(signal.SIGHUP, _on_terminate)
    sys.exit(run(words))


def run(words: list[str]) -> int:
    """Run one command line; return its exit code. Every failure is printed, none is raised."""
    debug = "--debug" in words
    try:
        result = casedb.main(args=words, prog_name="casedb", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except CasedbError as error:
        if debug:
            traceback.print_exc()
        print_error(error, as_json="--json" in words)
        return int(error.exit_code)
    except BrokenPipeError:
        # `casedb backups | head`: the reader has seen enough.
        sys.stderr.close()
        return int(ExitCode.WELL)
    except Exception as error:
        if debug:
            traceback.print_exc()
        unexpected = CasedbError(
            f"unexpected {type(error).__name__}",
            detail=str(error),
            hint="This is a fault of casedb. `casedb --debug ...` shows where it happened.",
        )
        print_error(unexpected, as_json="--json" in words)
        return int(ExitCode.UNEXPECTED)
    return result if isinstance(result, int) else int(ExitCode.WELL)


_terminated = False


def _on_terminate(_number: int, _frame: FrameType | None) -> None:
    global _terminated
    _terminated = True
    raise TerminatedError


def _interrupted() -> int:
    word, code = (
        ("terminated", ExitCode.TERMINATED)
        if _terminated
        else ("interrupted", ExitCode.INTERRUPTED)
    )
    click.echo(f"\n{word}; what was half done has been cleaned up", err=True)
    return int(code)
