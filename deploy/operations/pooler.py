"""PgBouncer: its account, its configuration, and away with it."""

from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy import pooler_host
from deploy.changes import Change, note, remark, secret_change, text_change
from deploy.facts import forget, host_state
from deploy.operations.system import Commands, file_differences
from deploy.pooler_host import Wanted, Wish, asked, differing, version_of, wanted
from deploy.sending import failing, pooling_command

_RESTART = "restart of PgBouncer"
_RELOAD = "reload of PgBouncer"


@operation()
def pooler_account() -> Commands:
    """Make the account that PgBouncer runs as: no login, no home, nobody else's."""
    if host_state()["pooler"]["account"]:
        host.noop("the account is there")
        return
    name = pooler_host.ACCOUNT
    note(host, Change(f"account {name}", ("+no home, no login",)))
    yield StringCommand(
        "useradd --system --user-group --no-create-home --home /nonexistent "
        f"--shell /usr/sbin/nologin {name}"
    )
    forget()


@operation()
def pooled(wish: Wish, cluster_unit: str, *, may_restart: bool, timeout_s: int = 20) -> Commands:
    """Make PgBouncer what `wish` says: proven before, undone if it does not lead to the server.

    What a reload cannot change waits for the restart window, with a remark.
    """
    state = host_state()
    found = state["pooler"]
    try:
        target = wanted(
            wish,
            version=version_of(
                state["packages"].get(pooler_host.PACKAGE, {}).get("version"),
                state["os"]["version_id"],
            ),
            cluster_unit=cluster_unit,
            hard_files=state["kernel"]["hard_files"],
        )
    except ValueError as error:
        yield failing(str(error))
        return
    runs = found["active"] == "active" and found["runs_as"] == pooler_host.ACCOUNT
    changed = _changed_files(state, target)
    live = differing(target.settings, found["config"]) if runs else []
    if pooler_host.INI_FILE in changed and runs:
        live += differing(target.chosen, found["config"])
    fixed = [n for n in live if found["config"].get(n, {}).get("changeable") == "no"]
    asks = bool(fixed) or pooler_host.DROP_IN_FILE in changed
    restart = not runs or (asks and may_restart)
    if asks and not restart:
        waiting = ", ".join([*fixed, *(["its unit"] if len(fixed) == 0 else [])])
        remark(
            host, "pooler", f"PgBouncer has to be restarted for {waiting}; it waits for its time"
        )
    stopped = (found["active"], found["enabled"]) != ("active", "enabled")
    loose = [name for name in live if restart or name not in fixed]
    if not (changed or loose or stopped or found["problem"] or not runs):
        host.noop("PgBouncer is as wanted")
        return
    effect = _RESTART if restart else _RELOAD
    for path, (problems, lines) in changed.items():
        note(host, Change(path, (*problems, *lines), effect))
    if stopped or not runs:
        was = f"-{found['active']}, {found['enabled']}, as {found['runs_as'] or 'nobody'}"
        now = f"+active, enabled, as {pooler_host.ACCOUNT}"
        note(host, Change(pooler_host.UNIT, (was, now), _RESTART))
    elif loose and not changed:
        was_set = [f"-{n} = {found['config'].get(n, {}).get('value')}" for n in loose]
        now_set = [f"+{n} = {(target.settings | target.chosen)[n]}" for n in loose]
        note(host, Change("PgBouncer's settings in force", (*was_set, *now_set), effect))
    elif found["problem"]:
        note(host, Change("PgBouncer's console", (f"-{found['problem']}",), effect))
    yield pooling_command(asked(wish, target, restart=restart, fixed=fixed, timeout_s=timeout_s))
    if found["enabled"] != "enabled":
        yield StringCommand(f"systemctl enable --quiet {pooler_host.UNIT}")
    forget()


@operation()
def no_pooler() -> Commands:
    """Stop and forget a PgBouncer of ours; one that others made stays."""
    state = host_state()
    if state["files"][pooler_host.DROP_IN_FILE] is None:
        host.noop("there is none of ours")
        return
    note(
        host,
        Change(pooler_host.UNIT, ("-active, enabled", "+stopped, disabled"), "stop of PgBouncer"),
    )
    gone = (*pooler_host.FILES, pooler_host.CERTIFICATE_FILE, pooler_host.KEY_FILE)
    yield StringCommand(
        f"systemctl disable --quiet --now {pooler_host.UNIT}; rm -rf {pooler_host.STATE_FOLDER}"
        f" && rm -f {' '.join(gone)}"
        f" && systemctl daemon-reload && apt-mark unhold {pooler_host.PACKAGE} >/dev/null"
    )
    forget()


def _changed_files(
    state: dict[str, Any], target: Wanted
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return in what the files on the host differ, and how; by path."""
    changed = {}
    for path, file in target.files.items():
        found: dict[str, Any] | None = state["files"].get(path)
        if not (problems := file_differences(found, **file)):
            continue
        if path == pooler_host.PASSWORDS_FILE:
            lines = secret_change(path).lines
        else:
            lines = text_change(path, (found or {}).get("content"), file["content"]).lines
        changed[path] = (problems, lines)
    return changed
