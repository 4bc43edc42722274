"""What PgBouncer is configured to be: transaction pooling, and no identity that leaks. Pure.

Sources: https://www.pgbouncer.org/config.html and https://www.pgbouncer.org/features.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from casedb.roles import POOLER

PORT = 6432
# Kept for backups, migrations, monitoring and people, who go past the pooler.
_DIRECT = 20
_CLIENTS_A_CONNECTION = 10
# Of the pool, for one client that has waited for long.
_RESERVE_SHARE = 10
_PREPARED_SINCE = (1, 21)
_PREPARED_STATEMENTS = 200

RESET = {
    # A plain SET ROLE outlives its transaction, and would reach the next client. Not DISCARD ALL:
    # it would throw away the prepared statements that PgBouncer believes to be there.
    "server_reset_query": "RESET ROLE; RESET ALL",
    # PgBouncer otherwise takes it that nobody changes a session in transaction mode.
    "server_reset_query_always": "1",
}
"""What gives every client a session that nobody has used before."""


@dataclass(frozen=True)
class Sizes:
    """How many connections on either side."""

    pool: int
    """To the server, for one database and role."""
    reserve: int
    clients: int


def sizes(max_connections: int, *, databases: int = 1, direct: int = _DIRECT) -> Sizes:
    """Return the sizes for a server that takes `max_connections`, `direct` of them past the pooler.

    The pools of all `databases` together never take the last connection from whoever has to mend
    things.

    Raises:
        ValueError: nothing would be left for the pooler.
    """
    pooled = max_connections - direct
    usable = pooled // max(databases, 1)
    if usable < 2:
        raise ValueError(f"{max_connections} connections leave none for a pooler")
    reserve = max(1, usable // _RESERVE_SHARE)
    return Sizes(usable - reserve, reserve, pooled * _CLIENTS_A_CONNECTION)


def settings(
    sizes: Sizes, *, version: tuple[int, int], auth_file: str, listen: str = "127.0.0.1"
) -> dict[str, str]:
    """Return section [pgbouncer]; `version` is PgBouncer's, `auth_file` has its own password."""
    chosen = {
        "listen_addr": listen,
        "listen_port": str(PORT),
        "pool_mode": "transaction",
        "auth_type": "scram-sha-256",
        "auth_file": auth_file,
        "auth_user": POOLER,
        "auth_query": "SELECT login, verifier FROM ops.pooler_login($1)",
        **RESET,
        "default_pool_size": str(sizes.pool),
        "reserve_pool_size": str(sizes.reserve),
        "max_db_connections": str(sizes.pool + sizes.reserve),
        "max_client_conn": str(sizes.clients),
        # What clients send at the start and PgBouncer does not track.
        "ignore_startup_parameters": "extra_float_digits",
        # Seconds: a client whose turn does not come learns it, a lost transaction ends.
        "query_wait_timeout": "30",
        "idle_transaction_timeout": "60",
    }
    if version >= _PREPARED_SINCE:
        chosen["max_prepared_statements"] = str(_PREPARED_STATEMENTS)
    return chosen


def ini(databases: Mapping[str, str], settings: Mapping[str, str]) -> str:
    """Return pgbouncer.ini: the databases with their libpq words, and the settings."""
    lines = ["[databases]", *(f"{name} = {words}" for name, words in databases.items())]
    lines += ["", "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    return "\n".join(lines) + "\n"
