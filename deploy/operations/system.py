"""Packages, accounts and files."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from deploy.changes import Change, note, secret_change, text_change
from deploy.facts import forget, host_state
from deploy.sending import file_command

Commands = Generator[StringCommand, None, None]

_NO_LOGIN = "/usr/sbin/nologin"


@operation()
def packages(
    names: Sequence[str],
    *,
    held: Sequence[str] = (),
    unstarted: Mapping[str, str] = MappingProxyType({}),
    wait_s: int = 120,
) -> Commands:
    """Install packages; those in `held` are kept from being upgraded by apt on its own.

    A server package that is upgraded restarts the server, at whatever time of day that happens.
    `unstarted` are units by package that its installation would start, and that we do not want.
    Somebody else's apt (unattended-upgrades) may hold the lock for a while: `wait_s` seconds.
    """
    apt = f"DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout={wait_s}"
    found = host_state()["packages"]
    missing = [name for name in names if name not in found]
    loose = [name for name in held if not found.get(name, {}).get("held")]
    # All of it before the first command: a plan asks for no more than that.
    if missing:
        note(host, Change("packages", tuple(f"+{name}" for name in missing)))
    if loose:
        note(host, Change("held packages", tuple(f"+{name}" for name in loose)))
    if missing:
        words = " ".join(missing)
        units = " ".join(unit for name, unit in unstarted.items() if name in missing)
        yield StringCommand(f"{apt} -qq update >/dev/null")
        # Without --no-install-recommends a compiler comes along.
        install = f"{apt} -qq -y --no-install-recommends install {words} >/dev/null"
        if units:
            # Masked meanwhile, it is never up, not for a moment and not after the next boot.
            install = (
                f"systemctl mask --quiet --runtime {units} && {install} && rc=0 || rc=$?;"
                f" systemctl unmask --quiet --runtime {units}; systemctl disable --quiet {units};"
                " exit $rc"
            )
        yield StringCommand(install)
    if loose:
        yield StringCommand(f"apt-mark hold {' '.join(loose)} >/dev/null")
    if missing or loose:
        forget()


@operation()
def account(user: str, home: str) -> Commands:
    """Make an account for a service: no login, a home that is nobody else's."""
    state = host_state()
    wanted = {"home": home, "shell": _NO_LOGIN}
    found: dict[str, Any] | None = state["accounts"][user]
    about = state["files"][home]
    whole = about and (about["kind"], about["user"], about["group"], about["mode"]) == (
        "directory", user, user, "700",
    )  # fmt: skip
    if found == wanted and whole:
        host.noop("the account is as wanted")
        return
    note(host, Change(f"account {user}", (f"+home {home}, no login",)))
    words = f"--home {home} --shell {_NO_LOGIN} {user}"
    if found is None:
        yield StringCommand(f"useradd --system --user-group --no-create-home {words}")
    elif found != wanted:
        yield StringCommand(f"usermod {words}")
    yield StringCommand(
        f"mkdir -p {Path(home).parent} && install -d -m 700 -o {user} -g {user} {home}"
    )
    forget()


@operation()
def managed_file(
    path: str,
    content: str | None,
    *,
    user: str = "root",
    group: str = "root",
    mode: str = "644",
    secret: bool = False,
) -> Commands:
    """Make a file what it should be, with its owner and mode; never half, never readable by others.

    Without `content` there is to be none. `path` has to be among those that `deploy.facts.asked`
    asks for.
    """
    found: dict[str, Any] | None = host_state()["files"][path]
    if content is None:
        if found is None:
            host.noop(f"{path} is not there, as wanted")
            return
        note(host, text_change(path, found.get("content"), ""))
        yield StringCommand("rm -f", QuoteString(path))
        forget()
        return
    problems = file_differences(found, content, user=user, group=group, mode=mode)
    if not problems:
        host.noop(f"{path} is as wanted")
        return
    if secret:
        note(host, secret_change(path))
    else:
        change = text_change(path, (found or {}).get("content"), content)
        note(host, Change(path, (*problems, *change.lines)))
    yield file_command(path, content, user=user, group=group, mode=mode)
    forget()


def file_differences(
    found: dict[str, Any] | None, content: str, *, user: str, group: str, mode: str
) -> tuple[str, ...]:
    """Return in what the file `found` differs from what is wanted; nothing if in nothing."""
    if found is None:
        return ("it is not there",)
    if found["kind"] != "file":
        return (f"it is a {found['kind']}",)
    wanted = {
        "content": hashlib.sha256(content.encode()).hexdigest(),
        "owner": user,
        "group": group,
        "mode": mode.lstrip("0"),
    }
    has = {
        "content": found["sha256"],
        "owner": found["user"],
        "group": found["group"],
        "mode": found["mode"],
    }
    return tuple(
        f"its {name} differs" if name == "content" else f"its {name} is {has[name]}, not {value}"
        for name, value in wanted.items()
        if has[name] != value
    )


@operation()
def account_folders(wanted: Mapping[str, str], *, owner: str) -> Commands:
    """Make folders that belong to `owner`; `wanted` has the mode of each. None is ever removed.

    They have to be among what `deploy.facts.asked` asks for.
    """
    different = {}
    for path, mode in wanted.items():
        found = host_state()["files"][path]
        has = (found["kind"], found["user"], found["group"], found["mode"]) if found else ()
        if has != ("directory", owner, owner, mode):
            different[path] = mode
            lines = ([f"-{' '.join(has)}"] if has else []) + [f"+directory {owner} {owner} {mode}"]
            note(host, Change(path, tuple(lines)))
    if not different:
        host.noop("the folders are as wanted")
        return
    for path, mode in different.items():
        quoted = QuoteString(path)
        yield StringCommand(
            "umask 022 && mkdir -p", quoted, f"&& chown {owner}:{owner}", quoted,
            f"&& chmod {mode}", quoted,
        )  # fmt: skip
    forget()
