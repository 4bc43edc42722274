"""What a dump starts does not push others off the processor."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from casedb.batch import as_batch

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="needs Linux")


def policy() -> int:
    return os.sched_getscheduler(0)


def test_threads_and_programs_of_the_block_are_batch_jobs() -> None:
    with as_batch(), ThreadPoolExecutor(1) as pool:
        in_a_thread = pool.submit(policy).result()
        with subprocess.Popen(["sleep", "60"]) as process:
            in_a_program = os.sched_getscheduler(process.pid)
            process.kill()

    assert (in_a_thread, in_a_program, policy()) == (
        os.SCHED_BATCH,
        os.SCHED_BATCH,
        os.SCHED_OTHER,
    )


def test_afterwards_it_is_as_it_was_also_if_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), as_batch():
        raise ZeroDivisionError

    assert policy() == os.SCHED_OTHER


def test_whoever_is_to_run_when_nobody_else_does_still_is() -> None:
    """As a timer's unit may have it; no way leads back from there for everybody."""

    def idle() -> tuple[int, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with as_batch():
            inside = policy()
        return inside, policy()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(idle).result() == (os.SCHED_IDLE, os.SCHED_IDLE)


def test_where_it_may_not_be_set_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's filter of system calls answers like this."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with as_batch():
        assert policy() == os.SCHED_OTHER
