"""The certificates of the server and of its pooler."""

from dataclasses import dataclass
from datetime import timedelta

from pyinfra import host
from pyinfra.api import StringCommand, operation

from deploy.changes import Change, note, secret_change
from deploy.facts import forget, host_data, host_state
from deploy.operations.system import Commands, file_differences
from deploy.pki import Authority, certificate_problem, utc_now
from deploy.sending import file_command, sql_command

FOLDER = "/etc/casedb/tls"


@dataclass(frozen=True)
class Holder:
    """What shows a certificate: its files in FOLDER by their name, the group that reads the key."""

    name: str
    group: str
    unit: str = ""
    """What is reloaded when it runs; empty: the server itself, by SQL."""


SERVER = Holder("server", "postgres")


@operation()
def certificate(
    authority: Authority,
    names: tuple[str, ...],
    *,
    renew_before: timedelta,
    holder: Holder = SERVER,
) -> Commands:
    """Give a host a certificate of `authority`, and a new one in time before it ends.

    The key is made here and travels inside SSH; it stays nowhere but on the host.
    """
    state = host_state()
    files = state["files"]
    shown = {"user": "root", "group": "root", "mode": "644"}
    hidden = {"user": "root", "group": holder.group, "mode": "640"}
    crt_file, key_file = f"{FOLDER}/{holder.name}.crt", f"{FOLDER}/{holder.name}.key"
    found = files[crt_file] or {}
    key = files[key_file]
    problem = certificate_problem(
        found.get("content"),
        authority.certificate_pem,
        names,
        now=utc_now(),
        renew_before=renew_before,
    )
    if not problem and key is None:
        problem = "its key is gone"
    if not problem and (key["mode"], key["user"], key["group"]) != ("640", "root", holder.group):
        problem = f"its key is {key['user']}:{key['group']} {key['mode']}"
    other_authority = file_differences(
        files[f"{FOLDER}/ca.crt"], authority.certificate_pem, **shown
    )
    if other_authority:
        note(host, Change(f"{FOLDER}/ca.crt", other_authority))
    if problem:
        note(host, Change(crt_file, (f"+for {', '.join(names)}: {problem}",), "reload"))
        note(host, secret_change(key_file, effect="reload"))
    if other_authority:
        yield file_command(f"{FOLDER}/ca.crt", authority.certificate_pem, **shown)
    if problem:
        certificate_pem, key_pem = authority.issue(names, now=utc_now())
        yield file_command(key_file, key_pem, **hidden)
        yield file_command(crt_file, certificate_pem, **shown)
    if not (problem or other_authority):
        host.noop("the certificate is good")
        return
    if holder.unit:
        yield StringCommand(f"systemctl try-reload-or-restart {holder.unit}")
    elif state["server"]:
        # The configuration may be as wanted already, and then nothing else reloads.
        yield sql_command(
            "SELECT pg_reload_conf();", port=int(host_data()["pg_port"]), database="postgres"
        )
    forget()
