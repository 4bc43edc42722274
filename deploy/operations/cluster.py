"""One cluster: made once, configured safely."""

from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.changes import Change, note, text_change
from deploy.conf import AUTO_CONF, Place
from deploy.facts import forget, host_state
from deploy.operations.system import Commands, file_differences
from deploy.sending import configuring, failing


@operation()
def cluster(place: Place, *, port: int, adopt: bool = False, locale: str = "C.UTF-8") -> Commands:
    """Make a cluster with UTF8 and data checksums, and start it with the machine.

    One that exists is never made anew: it is somebody's data. One that others made is refused,
    unless `adopt` says that it is to be taken over, with its data.
    """
    state = host_state()
    same = [c for c in state["clusters"] if (c["major"], c["name"]) == (place.major, place.name)]
    enabled = state["unit"]["enabled"] in ("enabled", "enabled-runtime")
    if problem := _in_the_way(state, place, port, bool(same), adopt):
        yield failing(problem)
        return
    ours = bool(same and state["files"][place.made_by_us])
    if ours and enabled:
        host.noop("the cluster is there")
        return
    if not ours:
        line = "+taken over" if same else "+UTF8, checksums"
        note(host, Change(f"cluster {place.major}/{place.name}", (line,)))
    if not enabled:
        note(host, Change(place.unit, ("+enabled",)))
    if not same:
        yield StringCommand(
            f"pg_createcluster --port {port} --encoding UTF8 --locale {locale} --start-conf auto "
            f"{place.major} {place.name} -- --data-checksums --auth-local=peer "
            "--auth-host=scram-sha-256 >/dev/null"
        )
    if not ours:
        yield StringCommand(f"install -m 600 -o postgres -g postgres /dev/null {place.made_by_us}")
    if not enabled:
        yield StringCommand(f"systemctl enable --quiet {place.unit}")
    forget()


def _in_the_way(state: dict[str, Any], place: Place, port: int, there: bool, adopt: bool) -> str:
    """Return why this cluster cannot be ours; empty if it can."""
    what = f"cluster {place.major}/{place.name}"
    if there:
        if state["files"][place.made_by_us] or adopt:
            return ""
        return (
            f"{what} exists already and was not made by casedb; it was left alone "
            "(adopt = True in the inventory takes it over with its data, pg_cluster names another)"
        )
    for other in state["clusters"]:
        if other["port"] == port:
            return (
                f"port {port} belongs to cluster {other['major']}/{other['name']} already; "
                "it was left alone (pg_port in the inventory chooses another)"
            )
    if port in state["listening"]:
        return (
            f"port {port} is in use by another program (pg_port in the inventory chooses another)"
        )
    return ""


@operation()
def configuration(
    place: Place,
    *,
    files: dict[str, str],
    may_restart: bool,
    timeout_s: int = 30,
    memory_limit_bytes: int | None = None,
) -> Commands:
    """Put a cluster's configuration in place: proven before, undone if the server does not answer.

    `files` are the complete texts of postgresql.conf, pg_hba.conf and pg_ident.conf, by those
    names. postgresql.auto.conf is emptied: what was set past the inventory is drift.
    """
    state = host_state()
    wanted = {
        f"{place.etc}/{name}": {
            "content": text,
            "user": "postgres",
            "group": "postgres",
            "mode": "640" if name != "postgresql.conf" else "644",
        }
        for name, text in files.items()
    }
    auto = f"{place.data}/postgresql.auto.conf"
    wanted[auto] = {"content": AUTO_CONF, "user": "postgres", "group": "postgres", "mode": "600"}
    for path, file in wanted.items():
        found: dict[str, Any] | None = state["files"].get(path)
        if path == auto and _is_empty(found):
            # initdb's own wording differs between versions; only settings count.
            file["content"] = (found or {})["content"]
        problems = file_differences(found, **file)
        if problems:
            change = text_change(path, (found or {}).get("content"), file["content"])
            note(host, Change(path, (*problems, *change.lines), "reload"))
    different = [p for p, f in wanted.items() if file_differences(state["files"].get(p), **f)]
    server = state["server"] or {}
    pending = sorted(n for n, s in server.get("settings", {}).items() if s["pending_restart"])
    stopped = state["server"] is None
    if stopped:
        note(host, Change(place.unit, ("-stopped", "+running"), "restart"))
    elif pending and may_restart:
        note(host, Change("settings waiting for a restart", tuple(pending), "restart"))
    if not (different or stopped or (pending and may_restart)):
        host.noop("the configuration is as wanted")
        return
    yield configuring(
        {
            "major": place.major,
            "cluster": place.name,
            "files": wanted,
            "restart": may_restart,
            "timeout_s": timeout_s,
            "memory_limit_bytes": memory_limit_bytes,
        }
    )
    forget()


def _is_empty(found: dict[str, Any] | None) -> bool:
    """Whether a postgresql.auto.conf sets nothing."""
    if found is None or "content" not in found:
        return False
    lines = (line.strip() for line in found["content"].splitlines())
    return all(not line or line.startswith("#") for line in lines)
