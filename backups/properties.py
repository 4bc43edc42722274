"""What belongs to a database and is in no dump of it, as the statements that bring it back."""

from collections.abc import Iterable, Iterator

from psycopg import sql

from backups.manifest import DatabaseProperties, DatabaseSetting

OURS = "casedb."
"""How our own settings of a database begin, such as its mark: they say what this one database is
for and what became of it, so they are never a copy's."""
FROZEN = "casedb.frozen"
RESTORED = "casedb.restored"
"""The backup that a database was restored from, when it took another's name."""
PREVIOUS = "casedb.previous"
"""What a living database's predecessor is called since the last swap of names."""
READ_ONLY = "default_transaction_read_only"
UNSET = "unset"
"""The value of FROZEN where READ_ONLY had none."""

# Their values are lists of names, each quoted for itself; see variable_is_guc_list_quote() in
# PostgreSQL's dumputils.c.
_LISTS_OF_NAMES = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}


def thawing(database: str, was: str) -> list[sql.Composed]:
    """Return the statements that make `database`, whose READ_ONLY `was`, as before a --freeze."""
    name = sql.Identifier(database)
    alter = sql.SQL("ALTER DATABASE {} {}")
    back: sql.Composable = sql.SQL(f"RESET {READ_ONLY}")
    if was != UNSET:
        back = sql.SQL(f"SET {READ_ONLY} = {{}}").format(sql.Literal(was))
    return [alter.format(name, back), alter.format(name, sql.SQL(f"RESET {FROZEN}"))]


def thaw_command(database: str, was: str) -> str:
    """Return what a person types into psql to end a --freeze."""
    return "; ".join(s.as_string(None) for s in thawing(database, was))


def create_statement(properties: DatabaseProperties, database: str) -> sql.Composed:
    """Return the CREATE DATABASE of an empty database with the same encoding and locale."""
    options: list[sql.Composable] = [
        sql.SQL("TEMPLATE template0"),
        sql.SQL("ENCODING {}").format(properties.encoding),
        sql.SQL("LC_COLLATE {}").format(properties.collate),
        sql.SQL("LC_CTYPE {}").format(properties.ctype),
        sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(properties.locale_provider)),
    ]
    if properties.locale_provider == "icu" and properties.locale:
        options.append(sql.SQL("ICU_LOCALE {}").format(properties.locale))
    if properties.locale_provider == "icu" and properties.icu_rules:
        options.append(sql.SQL("ICU_RULES {}").format(properties.icu_rules))
    if properties.locale_provider == "builtin" and properties.locale:
        options.append(sql.SQL("BUILTIN_LOCALE {}").format(properties.locale))
    return sql.SQL("CREATE DATABASE {} {}").format(
        sql.Identifier(database), sql.SQL(" ").join(options)
    )


def property_statements(properties: DatabaseProperties, database: str) -> list[sql.Composed]:
    """Return the statements that give `database` the owner, grants, settings and comment."""
    name = sql.Identifier(database)
    owner = sql.Identifier(properties.owner)
    statements = [
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner),
        # What is not granted below was revoked; even the owner can be without a privilege.
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(name, owner),
    ]
    for grant in properties.grants:
        statements.append(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(grant.privilege),
                name,
                sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC"),
                sql.SQL(" WITH GRANT OPTION" if grant.grantable else ""),
            )
        )
    statements += [_set(name, setting) for setting in without_ours(properties.settings)]
    if properties.connection_limit != -1:
        statements.append(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
                name, properties.connection_limit
            )
        )
    if properties.comment is not None:
        statements.append(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, properties.comment))
    return statements


def replacing_statements(
    found: DatabaseProperties, wanted: DatabaseProperties, database: str
) -> list[sql.Composed]:
    """Return the statements after which `database`, which has `found`, has `wanted` instead."""
    name = sql.Identifier(database)
    grantees = {grant.grantee for grant in found.grants} - {""}
    statements = [
        sql.SQL("ALTER DATABASE {} RESET ALL").format(name),
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name),
        sql.SQL("COMMENT ON DATABASE {} IS NULL").format(name),
    ]
    for role in sorted({setting.role for setting in found.settings if setting.role}):
        statements.append(
            sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(sql.Identifier(role), name)
        )
    for grantee in sorted(grantees):
        statements.append(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(
                name, sql.Identifier(grantee)
            )
        )
    return statements + property_statements(wanted, database)


def without_ours(settings: Iterable[DatabaseSetting]) -> tuple[DatabaseSetting, ...]:
    """Return `settings` without our own, and without what a restore had set for a while."""
    settings = tuple(settings)
    frozen = any(s.name == FROZEN for s in settings)
    return tuple(
        s
        for s in settings
        if not s.name.startswith(OURS) and not (frozen and s.role is None and s.name == READ_ONLY)
    )


def _set(database: sql.Identifier, setting: DatabaseSetting) -> sql.Composed:
    whose = (
        sql.SQL("ALTER DATABASE {}").format(database)
        if setting.role is None
        else sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), database)
    )
    values = list(_names(setting.value)) if setting.name in _LISTS_OF_NAMES else [setting.value]
    parts = sql.SQL(".").join(sql.Identifier(part) for part in setting.name.split("."))
    return sql.SQL("{} SET {} = {}").format(
        whose, parts, sql.SQL(", ").join(sql.Literal(value) for value in values)
    )


def _names(text: str) -> Iterator[str]:
    """Yield the names in a list such as `"$user", public`.

    >>> list(_names('"$user", public, "a ""b"", c"'))
    ['$user', 'public', 'a "b", c']
    """
    name, quoted, i = "", False, 0
    while i < len(text):
        char = text[i]
        if char == '"' and quoted and text[i + 1 : i + 2] == '"':
            name, i = name + '"', i + 1
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            yield name
            name = ""
        elif quoted or not char.isspace():
            name += char
        i += 1
    yield name
