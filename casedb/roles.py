"""The database roles: applied before the first migration, put back where they drifted."""

from collections.abc import Mapping

from psycopg import sql

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError
from casedb.sqlfiles import folder, read_sql

LOGIN_ROLES: tuple[str, ...] = (
    "case_migrator",
    "case_app",
    "case_seed",
    "case_backup",
    "case_readonly",
    "case_monitor",
    "case_pooler",
)
"""The roles somebody or something logs in as; the others are only ever become."""

POOLER = "case_pooler"
"""Who PgBouncer is when it asks for a client's verifier."""

OWNER = "case_owner"
"""The role that owns the database and all that is in it; migrations run as this role."""

# A verifier is not a password, but whoever has it can try passwords against it at leisure.
_SILENT_LOG = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
}


def apply_roles(admin: Conninfo) -> None:
    """Make the roles and the connected database's ownership what `sql/roles/` says.

    Safe to repeat, and safe at the same time as another run, also on another database of the
    same server. Each file is one transaction. Passwords are not touched.

    Raises:
        ConfigurationError: if `admin` is no superuser.
        ToolFailedError: PostgreSQL reported an error; that file changed nothing.
    """
    with connect(admin, purpose="roles") as connection:
        if not scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            raise ConfigurationError(
                "the roles can only be applied by a superuser",
                detail=f'"{scalar(connection, "SELECT current_user")}" is none.',
                hint="Connect as postgres: only a superuser may grant BYPASSRLS.",
            )
        for path in sorted((folder("sql") / "roles").glob("*.sql")):
            connection.execute(read_sql(f"roles/{path.name}"))


def set_passwords(admin: Conninfo, passwords: Mapping[str, str]) -> None:
    """Give login roles new passwords: all of them, or none.

    The SCRAM verifier is computed here, so no plaintext travels to the server or into its log.

    Raises:
        ConfigurationError: for a role that does not log in, or an empty password.
        ToolFailedError: PostgreSQL reported an error (a role that was not applied, for instance).
    """
    unknown = sorted(set(passwords) - set(LOGIN_ROLES))
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)} cannot have a password",
            detail="Nobody logs in as such a role.",
            hint=f"Roles that log in: {', '.join(LOGIN_ROLES)}.",
        )
    empty = sorted(role for role, password in passwords.items() if not password)
    if empty:
        raise ConfigurationError(
            f"the password of {', '.join(empty)} is empty",
            hint="PostgreSQL refuses every login with an empty password.",
        )
    with (
        connect(admin, purpose="passwords", settings=_SILENT_LOG) as connection,
        connection.transaction(),
    ):
        for role, password in passwords.items():
            verifier = connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(verifier.decode())
                )
            )
