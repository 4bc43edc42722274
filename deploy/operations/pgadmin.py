"""pgAdmin: installed, with its store, user and servers, and served; or taken away."""

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.changes import Change, note
from deploy.facts import forget, host_state
from deploy.operations.system import Commands
from deploy.pgadmin import UNIT, UNIT_FILE, WEB_UNIT, WEB_UNIT_FILE, Wish
from deploy.pgadmin_state import differences
from deploy.sending import bringing_pgadmin


@operation()
def pgadmin(wish: Wish) -> Commands:
    """Bring pgAdmin to what it has to be; nothing is loaded or restarted that is so already."""
    found = differences(host_state(), wish)
    if not found:
        host.noop("pgAdmin is as wanted")
        return
    for what, lines in found:
        note(host, Change(what, lines))
    yield bringing_pgadmin(wish)
    forget()


@operation()
def no_pgadmin() -> Commands:
    """Stop pgAdmin and take its services away; what is in its store stays."""
    files = host_state()["files"]
    if not (files[UNIT_FILE] or files[WEB_UNIT_FILE]):
        host.noop("there is no pgAdmin of ours")
        return
    note(host, Change("pgAdmin", ("-stopped; its store stays",)))
    yield StringCommand(
        f"systemctl disable --quiet --now {WEB_UNIT} {UNIT};"
        f" rm -f {WEB_UNIT_FILE} {UNIT_FILE} && systemctl daemon-reload"
    )
    forget()
