"""What a verb leaves for monitoring, whether it went well or not: metrics, a line, commands."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import click

from backups.catalog import catalog
from backups.interrupts import hear_no_more, too_late
from backups.metrics import StoreState, write_metrics
from backups.stores import name_of, open_store
from casedb.conninfo import redact
from casedb.errors import CasedbError, ExitCode, TerminatedError, ToolFailedError
from casedb.hooks import call_hook
from casedb.runs import Run, append_line, last_runs, read_runs
from casedb.settings import Settings


@dataclass
class Story:
    """What a verb finds out about its run while it goes on."""

    label: str | None = None
    size_bytes: int | None = None
    done: list[str] = field(default_factory=list)
    """What stands, once it does: from then on an interrupt only cuts short what comes after."""

    left: list[str] = field(default_factory=list)
    """What somebody has to do by hand, with the command that does it."""

    def tell(self, what: str, left: Sequence[str] = ()) -> None:
        """Note that `what` stands, and what is `left` to do by hand."""
        self.left += left
        self.done.append(what)

    def require_nothing_left(self) -> None:
        """Let the run end as a failure where somebody is still needed.

        Raises:
            ToolFailedError: says what stands, and what is left to do.
        """
        if self.left:
            raise ToolFailedError(
                f"{self.done[0]}, but something is left to do", hint=" ".join(self.left)
            )


@contextmanager
def signals_after(settings: Settings, command: str, stores: tuple[str, ...]) -> Iterator[Story]:
    """Tell of the run when the block ends, however it ends.

    After a failure too: a damaged backup or a failed drill is what signals are for. That they could
    not be given is said, and changes nothing about the work itself.
    """
    story = Story()
    started_at, began = datetime.now(UTC), time.monotonic()
    code, message = ExitCode.WELL, None

    def tell_of(interrupt: KeyboardInterrupt) -> None:
        hear_no_more()
        click.echo(f"\n{_failure(interrupt)[1]}, too late: {story.done[0]}", err=True)
        story.require_nothing_left()

    try:
        with _unheard(story), too_late(story.done, tell_of):
            yield story
    except BaseException as error:
        code, message = _failure(error)
        raise
    finally:
        run = Run(
            command=command,
            database=settings.values.database,
            label=story.label,
            outcome="failure" if code else "success",
            exit_code=int(code),
            started_at=started_at,
            seconds=time.monotonic() - began,
            bytes=story.size_bytes,
            store=tuple(name_of(url) for url in stores),
            message=message,
            invocation=os.environ.get("INVOCATION_ID"),
        )
        with _unheard(story), too_late(story.done, tell_of):
            tell(settings, run)


@contextmanager
def _unheard(story: Story) -> Iterator[None]:
    """Let what is done be done, although nobody reads of it: the terminal was closed, say."""
    try:
        yield
    except BrokenPipeError:
        if not story.done:
            raise
        story.require_nothing_left()


def _failure(error: BaseException) -> tuple[ExitCode, str]:
    if isinstance(error, CasedbError):
        return error.exit_code, error.message
    if isinstance(error, TerminatedError):
        return ExitCode.TERMINATED, "terminated"
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return ExitCode.UNREAD, "stopped, because nobody reads what it prints"
    return ExitCode.UNEXPECTED, f"unexpected {type(error).__name__}"


def tell(settings: Settings, run: Run, unread: CasedbError | None = None) -> None:
    """Tell of a run that has ended: to the log, to the metrics, to the commands of its outcome.

    `unread` is why the log could not be read, where that was tried before: it is a warning, unless
    the log cannot be written either, which is one already.
    """
    if settings.log_path:
        with _noted("the log"):
            append_line(settings.log_path, run)
            if unread:
                raise unread
    if settings.metrics_path:
        with _noted("the metrics"):
            _write_metrics(settings, run)
    values = settings.values
    for command in values.on_failure if run.exit_code else values.on_success:
        with _noted("on_failure" if run.exit_code else "on_success"):
            call_hook(command, run, inherited=os.environ)


@contextmanager
def _noted(signal: str) -> Iterator[None]:
    """Let no error out: how a run went is settled, and the other signals are still to be given."""
    try:
        yield
    except CasedbError as error:
        click.echo(f"warning: {error.message}: {error.detail or ''}".rstrip(": "), err=True)
    except Exception as error:
        unexpected = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
        line = f"warning: {signal}: {redact(unexpected)}. This is a fault of casedb."
        click.echo(line, err=True)


def _write_metrics(settings: Settings, run: Run) -> None:
    assert settings.metrics_path is not None
    database = settings.values.database
    states = []
    for url in settings.store_urls:
        try:
            store = open_store(url)
            backups = catalog(store, database)
            states.append(StoreState(store.url, database, backups, datetime.now(UTC)))
        except CasedbError as error:
            # Without a line of its own, an alert on its absence tells.
            click.echo(f"note: no metrics of {name_of(url)}: {error.message}", err=True)
    earlier: list[Run] = []
    if settings.log_path:
        try:
            earlier = read_runs(settings.log_path)
        except ToolFailedError as error:
            click.echo(f"note: no metrics of earlier runs: {error.message}", err=True)
    about = [r for r in (*earlier, run) if r.database == database]
    write_metrics(settings.metrics_path, states, last_runs(about))
