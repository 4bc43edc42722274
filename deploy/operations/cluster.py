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
def cluster(place: Place, *, port: int, locale: str = "C.UTF-8") -> Commands:
    """Make a cluster with UTF8 and data checksums, and start it with the machine.

    One that exists is never made anew: it is somebody's data.
    """
    state = host_state()
    same = [c for c in state["clusters"] if (c["major"], c["name"]) == (place.major, place.name)]
    others = [c for c in state["clusters"] if c not in same and c["port"] == port]
    if not same and others:
        other = others[0]
        yield failing(
            f"port {port} belongs to cluster {other['major']}/{other['name']} already; "
            "it was left alone (pg_port in the inventory chooses another)"
        )
        return
    if not same:
        note(host, Change(f"cluster {place.major}/{place.name}", ("+UTF8, checksums",)))
        yield StringCommand(
            f"pg_createcluster --port {port} --encoding UTF8 --locale {locale} --start-conf auto "
            f"{place.major} {place.name} -- --data-checksums --auth-local=peer "
            "--auth-host=scram-sha-256 >/dev/null"
        )
    if state["unit"]["enabled"] not in ("enabled", "enabled-runtime"):
        note(host, Change(place.unit, ("+enabled",)))
        yield StringCommand(f"systemctl enable --quiet {place.unit}")
    if not same or state["unit"]["enabled"] not in ("enabled", "enabled-runtime"):
        forget()


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
