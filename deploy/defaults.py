"""The data of a host, and what holds where an inventory says nothing.

An inventory overrides each by its name, in group_data/ or for one host. Secrets are references:
"file:PATH", "env:NAME" or "command:WORDS" (deploy/secrets.py).
"""

from typing import Any

TUNED_BY = ("workload", "tuning_preset", "disk", "max_connections")
"""The data that decide a host's tuning, beside its own facts."""

DEFAULTS: dict[str, Any] = {
    # sudo's password, by reference; None: sudo asks for none (NOPASSWD).
    "sudo_password": None,
    # PostgreSQL's major version; None: the one Debian has (12: 15, 13: 17).
    "pg_version": None,
    "pg_cluster": "main",
    "pg_port": 5432,
    "listen_addresses": "localhost",
    # Networks that clients come from; always by TLS and SCRAM.
    "client_networks": [],
    # Complete rules (deploy.hba.Rule) instead of those made from client_networks.
    "hba_rules": None,
    # "oltp", "web", "mixed" or "dw"; or the preset "phase0" instead of computed settings.
    "workload": "oltp",
    "tuning_preset": None,
    # "ssd", "hdd", "san" or "nvme". Not measured: a virtual disk always says that it turns.
    "disk": "ssd",
    "max_connections": None,
    # Settings beside or instead of ours: {"work_mem": "64MB"}.
    "pg_settings": {},
    # When the server may be restarted, in UTC: "always", "never" or "22:00-04:00".
    "restart": "always",
    # Where the site's certificate authority is kept; made on the first run.
    "pki_folder": ".casedb/pki",
    # Further names and addresses that clients reach the host by.
    "tls_names": [],
    "tls_renew_before_days": 30,
    # Databases with the roles of sql/roles/: name to mark (development, staging, production).
    "databases": {"case_management": "production"},
    # Passwords of login roles: {"case_app": "file:/etc/casedb/case_app"}.
    "passwords": {},
    # Further roles: {"reports": {"login": True, "member_of": ["case_readonly"]}}.
    "roles": {},
    "extensions": ["pg_stat_statements", "pgaudit"],
    "extra_packages": [],
    # PostgreSQL from its own project's repository: {} takes https://apt.postgresql.org with the key
    # that Debian's postgresql-common has; {"url": ..., "key": PATH} a mirror. Only PostgreSQL's own
    # packages come from there. Needed for a pg_version that Debian does not have.
    "pgdg": None,
    # How long to wait for somebody else's apt, in seconds.
    "apt_wait_s": 120,
    # A cluster that others made is refused; True takes it over, with the data that is in it.
    "adopt": False,
    # Kernel settings and limits computed for the server; False leaves the kernel alone.
    "kernel": True,
    # Kernel settings beside or instead of ours: {"vm.swappiness": 10}; None leaves that one alone.
    "sysctl": {},
    # nftables: the server's port is for client_networks alone. SSH is not touched.
    "firewall": False,
    # casedb itself in /opt/casedb, its account, its settings; False: none of it, and no migrations.
    "toolkit": True,
    # casedb.toml on the host beside or instead of ours: {"store": ["s3://bucket/prefix"]}.
    "toolkit_settings": {},
    # When backups are taken, checked, drilled and expired, as OnCalendar= of systemd has it:
    # {"dump": "hourly", "verify": None}; None: not on this host. What is not named has its default
    # (deploy/timers.py). On hosts of the group "drill" there is no server and no dump.
    "timers": {},
    # The secret key of encrypted backups, by reference: for the hosts of the group "drill".
    "backup_key": None,
    # ~/.aws/credentials of the toolkit's account, by reference.
    "store_credentials": None,
    # PgBouncer before the server, in transaction mode, for case_app; it needs passwords of case_app
    # and case_pooler. Clients come from client_networks, if it listens beyond this machine.
    "pooler": False,
    "pooler_listen": "127.0.0.1",
    "pooler_port": 6432,
    # PgBouncer's settings beside or instead of ours: {"idle_transaction_timeout": 300}.
    "pooler_settings": {},
    # Bring the schema to its head; False leaves that to somebody else.
    "migrate": True,
    # pgAdmin, on the hosts of the inventory's group "pgadmin": its first user, whose password is a
    # reference and counts when the user is made; where nginx listens (0.0.0.0 opens it to others),
    # and the hashed requirements file that pins another version than requirements/pgadmin.txt does.
    "pgadmin_email": "admin@example.com",
    "pgadmin_password": None,
    "pgadmin_listen": "127.0.0.1",
    "pgadmin_port": 8443,
    "pgadmin_requirements": None,
    # Queries slower than this are logged, in milliseconds.
    "log_slow_ms": 1000,
}
