"""Which server, database and login role a command uses.

Each verb has a login role of its own (docs/connections.md has the table); a user named by the
command's options, the environment or casedb.toml takes its place.
"""

from enum import Enum

from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError
from casedb.server import SUPERUSER, EmbeddedServer
from casedb.settings import Settings, Source
from casedb.tools import PostgresTools, tools_in, tools_of, wheel_tools


class Verb(Enum):
    """What a connection is for. Its value is the setting that names its login role."""

    MIGRATE = "migrate_user"
    SEED = "seed_user"
    DUMP = "dump_user"
    RESTORE = "restore_user"
    STATUS = "status_user"
    SHELL = "shell_user"


# These need the database itself, not a pooler before it, and rights the application must not have.
_DIRECT = frozenset({Verb.MIGRATE, Verb.SEED, Verb.DUMP, Verb.RESTORE})


def target_for(settings: Settings, verb: Verb, *, user: str | None = None) -> Conninfo:
    """Return how `verb` reaches its database; `user` is a login role asked for by name.

    Raises:
        ConfigurationError: only the application's DATABASE_URL is known, and `verb` may not use it.
        ServerUnreachableError: the embedded server is meant and does not run.
    """
    database = settings.values.database
    role = user or getattr(settings.values, verb.value)
    if is_embedded(settings):
        named = settings.connection.user if settings.connection_source is Source.DEFAULT else ""
        return EmbeddedServer(settings.home).conninfo(dbname=database, user=user or named or role)
    if settings.connection_source is Source.DATABASE_URL:
        if verb in _DIRECT and not settings.values.use_database_url:
            raise ConfigurationError(
                "the only server known is the application's DATABASE_URL",
                detail="It often leads through a pooler and logs in as the application; "
                f"{verb.name.lower()} needs the server itself and a role of its own.",
                hint="Name the server with --conninfo or CASEDB_CONNINFO, unset DATABASE_URL for "
                "the embedded one, or insist with CASEDB_USE_DATABASE_URL=true.",
            )
        return settings.connection.replace(dbname=database, user=user or settings.connection.user)
    chosen = user or settings.connection.user or role
    return settings.connection.replace(dbname=database, user=chosen)


def is_embedded(settings: Settings) -> bool:
    """Whether the embedded server is meant: nothing else is named, or DATABASE_URL points at it."""
    if settings.connection_source is not Source.DATABASE_URL:
        return settings.connection_source is Source.DEFAULT
    found = EmbeddedServer(settings.home).status()
    host, port = settings.connection.get("host"), settings.connection.get("port")
    local = {"localhost", "127.0.0.1", found.socket_dir}
    return found.running and host in local and port == str(found.port)


def embedded_admin(server: EmbeddedServer, dbname: str) -> Conninfo:
    """Return the embedded server's superuser on `dbname`."""
    return server.conninfo(dbname=dbname, user=SUPERUSER)


def embedded_tools(settings: Settings) -> PostgresTools:
    """Return the programs for the embedded server: those named, else those of its data directory.

    Raises:
        ConfigurationError: if this machine does not have them.
    """
    if settings.values.pg_bin:
        return tools_in((settings.root / settings.values.pg_bin.expanduser()).absolute())
    made_by = EmbeddedServer(settings.home).status().major
    if made_by and settings.sources["pg_major"] is Source.DEFAULT:
        # A data directory keeps its version, whatever today's default is.
        return wheel_tools(made_by) if made_by in (16, 18) else tools_of(made_by)
    return wheel_tools(settings.values.pg_major)


def client_tools(settings: Settings, server_major: int) -> PostgresTools:
    """Return client programs of the server's major version.

    Raises:
        ConfigurationError: if PG_BIN names others, or this machine has none of that version.
    """
    named = settings.values.pg_bin is not None
    if named or is_embedded(settings):
        tools = embedded_tools(settings)
        if tools.major == server_major:
            return tools
    if named:
        raise ConfigurationError(
            f"the programs in PG_BIN are PostgreSQL {tools.major}, the server is {server_major}",
            detail=f"{settings.sources['pg_bin']} names {tools.bindir}. Archives "
            "are written and read by programs of the server's own version.",
            hint=f"Point PG_BIN at those of PostgreSQL {server_major}, or unset it.",
        )
    return tools_of(server_major)


def named_tools(settings: Settings, major: int) -> PostgresTools | None:
    """Return the programs in PG_BIN, if it names some and they are of that major version.

    Raises:
        ConfigurationError: if there are none in the folder that PG_BIN names.
    """
    tools = embedded_tools(settings) if settings.values.pg_bin else None
    return tools if tools and tools.major == major else None
