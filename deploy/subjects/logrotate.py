"""The server's log: a month of days instead of Debian's ten weeks, compressed."""

from pyinfra.api import deploy

from deploy.operations.system import managed_file

_RULE = """\
# Written by casedb; a change made here is put back.
/var/log/postgresql/*.log {
       daily
       rotate 30
       copytruncate
       delaycompress
       compress
       notifempty
       missingok
       su root root
}
"""


@deploy("Log rotation")
def rotate_logs() -> None:
    """Keep thirty days."""
    managed_file(
        name="Rotate the server's log daily",
        path="/etc/logrotate.d/postgresql-common",
        content=_RULE,
    )
