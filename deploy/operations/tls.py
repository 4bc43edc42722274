"""The server's certificate."""

from datetime import timedelta

from pyinfra import host
from pyinfra.api import operation

from deploy.changes import Change, note, secret_change
from deploy.facts import forget, host_data, host_state
from deploy.operations.system import Commands, file_differences
from deploy.pki import Authority, certificate_problem, utc_now
from deploy.sending import file_command, sql_command

FOLDER = "/etc/casedb/tls"


@operation()
def certificate(
    authority: Authority, names: tuple[str, ...], *, renew_before: timedelta
) -> Commands:
    """Give a host a certificate of `authority`, and a new one in time before it ends.

    The key is made here and travels inside SSH; it stays nowhere but on the host.
    """
    state = host_state()
    files = state["files"]
    shown = {"user": "root", "group": "root", "mode": "644"}
    hidden = {"user": "root", "group": "postgres", "mode": "640"}
    found = files[f"{FOLDER}/server.crt"] or {}
    key = files[f"{FOLDER}/server.key"]
    problem = certificate_problem(
        found.get("content"),
        authority.certificate_pem,
        names,
        now=utc_now(),
        renew_before=renew_before,
    )
    if not problem and key is None:
        problem = "its key is gone"
    if not problem and (key["mode"], key["user"], key["group"]) != ("640", "root", "postgres"):
        problem = f"its key is {key['user']}:{key['group']} {key['mode']}"
    other_authority = file_differences(
        files[f"{FOLDER}/ca.crt"], authority.certificate_pem, **shown
    )
    if other_authority:
        note(host, Change(f"{FOLDER}/ca.crt", other_authority))
    if problem:
        note(
            host, Change(f"{FOLDER}/server.crt", (f"+for {', '.join(names)}: {problem}",), "reload")
        )
        note(host, secret_change(f"{FOLDER}/server.key", effect="reload"))
    if other_authority:
        yield file_command(f"{FOLDER}/ca.crt", authority.certificate_pem, **shown)
    if problem:
        certificate_pem, key_pem = authority.issue(names, now=utc_now())
        yield file_command(f"{FOLDER}/server.key", key_pem, **hidden)
        yield file_command(f"{FOLDER}/server.crt", certificate_pem, **shown)
    if not (problem or other_authority):
        host.noop("the certificate is good")
        return
    if state["server"]:
        # The configuration may be as wanted already, and then nothing else reloads.
        yield sql_command(
            "SELECT pg_reload_conf();", port=int(host_data()["pg_port"]), database="postgres"
        )
    forget()
