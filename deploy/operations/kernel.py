"""Kernel settings, and the limits of the server's unit."""

from collections.abc import Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.changes import Change, note, remark, text_change
from deploy.facts import forget, host_state
from deploy.kernel import LIMITS_FILE, SYSCTL_FILE, in_words, limits_text, sysctl_text, wanted
from deploy.operations.system import Commands, file_differences
from deploy.sending import file_command

_SHOWN = {"user": "root", "group": "root", "mode": "644"}


@operation()
def kernel_settings(settings: Mapping[str, str], chosen: Mapping[str, Any]) -> Commands:
    """Set what a server with `settings` wants of the kernel, now and at the next start.

    Where the host forbids it, as a container does, it is left alone with a remark.
    """
    state = host_state()
    found = state["kernel"]
    values, notes = wanted(settings, found["values"], found["memory"], chosen)
    other = {n: v for n, v in values.items() if found["values"].get(n) != v}
    if set(found["fixed"]) & set(values):
        if other:
            remark(
                host,
                "kernel",
                "kernel settings cannot be changed here; "
                f"the machine around it should have {in_words(other)}",
            )
        host.noop("the host forbids it")
        return
    for text in notes:
        remark(host, "kernel", text)
    text = sysctl_text(values)
    file = state["files"][SYSCTL_FILE]
    file_differs = file_differences(file, text, **_SHOWN)
    if not file_differs and set(other) == {"vm.nr_hugepages"}:
        # Memory in use falls to pieces; asking again would not help.
        has = found["values"]["vm.nr_hugepages"]
        remark(
            host,
            "huge pages",
            f"the kernel found room for {has} of {other['vm.nr_hugepages']} huge pages; "
            "after a restart of the machine it has them all",
        )
        other = {}
    if not (file_differs or other):
        host.noop("the kernel's settings are as wanted")
        return
    if file_differs:
        note(host, text_change(SYSCTL_FILE, (file or {}).get("content"), text))
    if other:
        was = (f"-{name} = {found['values'].get(name)}" for name in other)
        note(host, Change("kernel", (*was, *(f"+{n} = {v}" for n, v in other.items()))))
    if file_differs:
        yield file_command(SYSCTL_FILE, text, **_SHOWN)
    yield StringCommand("sysctl --quiet --load", SYSCTL_FILE)
    forget()


@operation()
def no_kernel_settings() -> Commands:
    """Take away the file of ours; what is in force stays until the machine restarts."""
    file = host_state()["files"][SYSCTL_FILE]
    if file is None:
        host.noop("there is none of ours")
        return
    note(host, text_change(SYSCTL_FILE, file.get("content"), ""))
    yield StringCommand("rm -f", SYSCTL_FILE)
    forget()


@operation()
def unit_limits() -> Commands:
    """Give the server's unit its limits; they hold from its next start on."""
    state = host_state()
    text = limits_text(state["kernel"]["hard_files"])
    file = state["files"][LIMITS_FILE]
    problems = file_differences(file, text, **_SHOWN)
    if not problems:
        host.noop("the limits are as wanted")
        return
    change = text_change(LIMITS_FILE, (file or {}).get("content"), text)
    note(host, Change(LIMITS_FILE, (*problems, *change.lines)))
    yield file_command(LIMITS_FILE, text, **_SHOWN)
    yield StringCommand("systemctl daemon-reload")
    forget()
