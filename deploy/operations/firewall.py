"""The rules that guard the server's port."""

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.changes import Change, note, text_change
from deploy.facts import forget, host_state
from deploy.firewall import RULES_FILE, TABLE, UNIT, UNIT_FILE, UNIT_TEXT
from deploy.operations.system import Commands, file_differences
from deploy.sending import file_command

_FILES = {"user": "root", "group": "root", "mode": "644"}


@operation()
def firewall(rules: str) -> Commands:
    """Put `rules` in force, now and from the first moment of the next start."""
    state = host_state()
    changed, different = False, []
    for path, text in ((RULES_FILE, rules), (UNIT_FILE, UNIT_TEXT)):
        file = state["files"][path]
        if problems := file_differences(file, text, **_FILES):
            change = text_change(path, (file or {}).get("content"), text)
            note(host, Change(path, (*problems, *change.lines)))
            different.append((path, text))
            changed = True
    unit, found = state["firewall_unit"], state["firewall"]
    if not (found["loaded"] and found["unchanged"]):
        note(host, Change(f"rules in table {TABLE}", ("+as in " + RULES_FILE,)))
        changed = True
    if (unit["active"], unit["enabled"]) != ("active", "enabled"):
        note(host, Change(UNIT, (f"-{unit['active']}, {unit['enabled']}", "+active, enabled")))
        changed = True
    if not changed:
        host.noop("the rules are in force")
        return
    for path, text in different:
        yield file_command(path, text, **_FILES)
    # Tried first: with a rule that nft does not take, the old ones stay.
    yield StringCommand(f"/usr/sbin/nft --check --file {RULES_FILE}")
    yield StringCommand(
        f"systemctl daemon-reload && systemctl enable --quiet {UNIT} && systemctl restart {UNIT}"
    )
    forget()


@operation()
def no_firewall() -> Commands:
    """Take the rules away again; what others made stays."""
    state = host_state()
    if not (state["files"][UNIT_FILE] or state["files"][RULES_FILE]):
        host.noop("there are no rules of ours")
        return
    note(host, Change(f"rules in table {TABLE}", ("-all of them",)))
    yield StringCommand(
        f"systemctl disable --quiet --now {UNIT}; rm -f {UNIT_FILE} {RULES_FILE}"
        " && systemctl daemon-reload"
    )
    forget()
