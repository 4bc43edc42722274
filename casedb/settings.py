"""casedb.toml, the environment and the command's options: one frozen Settings, read once.

For each value, the first source that has one wins: the command's options, CASEDB_*, libpq's own
variables (PGHOST, PGSERVICE, ...), casedb.toml, DATABASE_URL, the default. A server's words go
together: where one source names the server, no lower source adds a port or a password to it.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from casedb.ages import format_age, parse_age
from casedb.conninfo import SECRET_WORDS, Conninfo, libpq_variables
from casedb.conninfo_values import require_sound
from casedb.errors import ConfigurationError, UsageError

FILE_NAME = "casedb.toml"
_PREFIX = "CASEDB_"
# Words that say which server; a password belongs to the server it was written for.
_SERVER_WORDS = frozenset({"host", "hostaddr", "port", "service"})
_BELONGS_TO_SERVER = _SERVER_WORDS | SECRET_WORDS | {"passfile", "user"}

Age = Annotated[
    timedelta,
    BeforeValidator(lambda v: parse_age(v) if isinstance(v, str) else v),
    Field(ge=timedelta(0)),
]


def _words_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Not at spaces or commas: paths have them.
    return [word.strip() for word in value.split(";")] if value else ()


def _worded(word: str) -> str:
    # Passed over, "$A;$B" of variables that are not set would be a backup in clear.
    if not word.strip():
        raise PydanticCustomError(
            "empty_word",
            "One of its words is empty, as of a variable that is not set; leave it out, or set it",
        )
    return word


Words = Annotated[tuple[Annotated[str, AfterValidator(_worded)], ...], BeforeValidator(_words_of)]
"""Several texts, none of them empty: a list in casedb.toml, separated by ; in the environment."""


class Source(StrEnum):
    """Where a value came from, highest precedence first."""

    OPTION = "option"
    ENVIRONMENT = "environment"
    LIBPQ = "libpq environment"
    FILE = "casedb.toml"
    DATABASE_URL = "DATABASE_URL"
    DEFAULT = "default"


class Values(BaseModel):
    """Every setting, its default and what it is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conninfo: str = Field("", description="The server, in libpq's words; empty: the embedded one.")
    database: str = Field("case_management", min_length=1, description="The database's name.")
    data_dir: Path = Field(Path(".casedb"), description="The embedded server's home.")
    pg_bin: Path | None = Field(None, description="Folder of PostgreSQL programs to use.")
    pg_major: int = Field(16, description="Which embedded PostgreSQL: 16 or 18.")
    store: Words = Field(
        (), description="Where backups are kept, one or several; empty: in data_dir/backups."
    )
    recipients: Words = Field((), description="Public keys (age1..., ssh-...) dump encrypts to.")
    dump_jobs: int = Field(
        1, ge=1, le=16, description="How many sessions of dump read a large table at once."
    )
    dump_copy_format: Literal["auto", "text"] = Field(
        "auto", description="How rows are written: binary where that is as small, or all as text."
    )
    dump_compress: int | None = Field(
        None, ge=1, le=19, description="zstd's level for dumps; empty: the best for its work."
    )
    drill_image: str = Field(
        "postgres:{major}-alpine",
        description="What drill --container runs; {major} is the backup's PostgreSQL.",
    )
    metrics_file: Path | None = Field(
        None, description="Where dump, drill and rotate write metrics: a .prom of node_exporter's."
    )
    log_file: Path | None = Field(
        None, description="Where each dump, verify, drill, rotate --apply and restore adds a line."
    )
    on_success: Words = Field((), description="Commands to run after such a run went well.")
    on_failure: Words = Field((), description="Commands to run after such a run failed.")
    pooler: str = Field("", description="The console of a PgBouncer, paused while names change.")
    documents: str = Field("", description="The bucket of the cases' documents: s3://...")
    key_file: Path | None = Field(None, description="The secret key that opens backups.")
    keep_within: Age = Field(timedelta(days=7), description="All backups of this time stay.")
    keep_last: int = Field(2, ge=1, description="The newest so many stay, whatever their age.")
    keep_hourly: int = Field(0, ge=0, description="One for each of so many hours stays.")
    keep_daily: int = Field(0, ge=0, description="One for each of so many days stays.")
    keep_weekly: int = Field(0, ge=0, description="One for each of so many weeks stays.")
    keep_monthly: int = Field(0, ge=0, description="One for each of so many months stays.")
    keep_yearly: int = Field(0, ge=0, description="One for each of so many years stays.")
    backup_max_age: Age = Field(timedelta(hours=26), description="status warns beyond this.")
    drill_max_age: Age = Field(timedelta(days=8), description="status warns beyond this.")
    migrate_user: str = Field("case_migrator", description="Login role of migrate.")
    seed_user: str = Field("case_seed", description="Login role of seed.")
    dump_user: str = Field("case_backup", description="Login role of dump.")
    restore_user: str = Field("postgres", description="Login role of restore and mark.")
    status_user: str = Field("case_monitor", description="Login role of status.")
    shell_user: str = Field("case_readonly", description="Login role of shell.")
    use_database_url: bool = Field(
        False, description="Let migrate, seed, dump and restore use DATABASE_URL."
    )


@dataclass(frozen=True)
class Settings:
    """What holds for this run, and where each value came from."""

    values: Values
    sources: Mapping[str, Source]
    connection: Conninfo
    """The merged words of the server; no host, port or service: the embedded one."""
    connection_source: Source
    """The source that named the server; DEFAULT means the embedded one."""
    root: Path
    """The folder of casedb.toml, or the current one: relative paths start here."""

    @property
    def home(self) -> Path:
        """The embedded server's home, absolute."""
        return (self.root / self.values.data_dir.expanduser()).absolute()

    @property
    def store_urls(self) -> tuple[str, ...]:
        """Where backups are kept, each as a URL or an absolute path."""
        return tuple(
            store if "://" in store else str((self.root / Path(store).expanduser()).absolute())
            for store in self.values.store or (str(self.home / "backups"),)
        )

    @property
    def store_url(self) -> str:
        """The first of them, which is read where one is enough."""
        return self.store_urls[0]

    @property
    def chain_dir(self) -> Path:
        """Where this host remembers the newest backup it took."""
        return self.home / "chain"

    @property
    def metrics_path(self) -> Path | None:
        """Where metrics are written, absolute; None if they are not."""
        named = self.values.metrics_file
        return (self.root / named.expanduser()).absolute() if named else None

    @property
    def log_path(self) -> Path | None:
        """The log of runs, absolute; None if there is none."""
        named = self.values.log_file
        return (self.root / named.expanduser()).absolute() if named else None

    @property
    def key_path(self) -> Path | None:
        """The secret key's file, absolute."""
        named = self.values.key_file
        return (self.root / named.expanduser()).absolute() if named else None

    def shown(self) -> list[tuple[str, str, str]]:
        """Return (key, value, source) for every setting, secrets masked."""
        rows = []
        for key in Values.model_fields:
            value = getattr(self.values, key)
            if key == "conninfo":
                embedded = self.connection_source is Source.DEFAULT
                text = "embedded server" if embedded else str(self.connection)
                rows.append((key, text, str(self.connection_source)))
                continue
            if key == "store":
                value = "; ".join(self.store_urls)
            elif isinstance(value, tuple):
                value = "; ".join(value)
            elif key == "data_dir":
                value = self.home
            text = format_age(value) if isinstance(value, timedelta) else str(value)
            rows.append((key, "" if value is None else text, str(self.sources[key])))
        return rows


def read_settings(
    *,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    folder: Path,
    file: Path | None = None,
) -> Settings:
    """Return what holds, given the command's options and the environment, seen from `folder`.

    Options that are None were not given. `file` replaces the search for casedb.toml.

    Raises:
        ConfigurationError: an unknown key or a value that makes no sense, also of libpq's words.
        UsageError: a password among the command's options.
    """
    path = file or find_file(folder)
    layers: list[tuple[Source, dict[str, Any]]] = [
        (Source.OPTION, {key: value for key, value in options.items() if value is not None}),
        (Source.ENVIRONMENT, _ours(environment)),
        (Source.LIBPQ, {}),
        (Source.FILE, _read_file(path) if path else {}),
        (Source.DATABASE_URL, {}),
    ]
    words = {source: _words(source, layer, environment) for source, layer in layers}
    merged: dict[str, Any] = {}
    sources = dict.fromkeys(Values.model_fields, Source.DEFAULT)
    for source, layer in reversed(layers):
        # The words of a connection may name the database too.
        named = {"database": words[source]["dbname"]} if "dbname" in words[source] else {}
        found = {**named, **layer}
        merged.update(found)
        sources.update(dict.fromkeys(found, source))
    values = _validated(merged, sources)
    connection, named_by = _connection(words)
    root = path.parent if path else folder
    return Settings(values, sources, connection, named_by, root.absolute())


def find_file(folder: Path) -> Path | None:
    """Return the casedb.toml of `folder` or of the nearest folder above it, or None."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
    return None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read", detail=f"{error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML", detail=f"{error}.") from error
    for key in found:
        if key not in Values.model_fields:
            raise _unknown(f'"{key}" in {path}', key, list(Values.model_fields))
    words = Conninfo.parse(str(found.get("conninfo", "")), origin=f"conninfo in {path}").words
    if SECRET_WORDS & words.keys():
        raise ConfigurationError(
            f"{path} has a password in it",
            detail="A file of settings is committed, copied and shown.",
            hint="Put it into a passfile of mode 0600 (~/.pgpass) and name that one: passfile=...",
        )
    return found


def _ours(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in environment.items():
        if not name.startswith(_PREFIX):
            continue
        key = name.removeprefix(_PREFIX).lower()
        if key not in Values.model_fields:
            known = [f"{_PREFIX}{field.upper()}" for field in Values.model_fields]
            raise _unknown(f"{name} in the environment", name, known)
        if value:
            found[key] = value
    if environment.get("PG_BIN"):
        found.setdefault("pg_bin", environment["PG_BIN"])
    return found


def _unknown(what: str, given: str, known: list[str]) -> ConfigurationError:
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return ConfigurationError(
        f"unknown setting {what}",
        hint=f"Did you mean {nearest[0]}? " if nearest else "`casedb config show` lists them all.",
    )


def _validated(merged: Mapping[str, Any], sources: Mapping[str, Source]) -> Values:
    try:
        return Values(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise ConfigurationError(
            f'setting "{key}" cannot be {first["input"]!r}',
            detail=f"{first['msg']} (from {sources[key]}).",
            hint=f"It is: {Values.model_fields[key].description}",
        ) from None


def _words(
    source: Source, layer: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the words of a connection that one source gives."""
    if source is Source.LIBPQ:
        variables = libpq_variables().items()
        return {word: environment[name] for name, word in variables if environment.get(name)}
    if source is Source.DATABASE_URL:
        return dict(Conninfo.from_database_url(environment.get("DATABASE_URL", "")).words)
    text = str(layer.get("conninfo") or "")
    words = dict(Conninfo.parse(text, origin=_origin(source, "")).words)
    if source is Source.OPTION and SECRET_WORDS & words.keys():
        raise UsageError(
            "a password on the command line is not accepted",
            detail="Everybody on this machine can read it in the list of processes.",
            hint="Put it into a passfile of mode 0600 (~/.pgpass), or set PGPASSWORD.",
        )
    return words


def _connection(words: Mapping[Source, Mapping[str, str]]) -> tuple[Conninfo, Source]:
    """Merge the words of all sources, highest first, and tell which one named the server."""
    merged: dict[str, str] = {}
    named_by = Source.DEFAULT
    for source, found in words.items():
        settled = named_by is not Source.DEFAULT
        if source is Source.DATABASE_URL and settled:
            # It is the application's way in: all of it or nothing.
            continue
        # What names no server is for whichever one is meant: PGPASSFILE beside --conninfo.
        of_another = settled and bool(_SERVER_WORDS & found.keys())
        taken = {k: v for k, v in found.items() if not (of_another and k in _BELONGS_TO_SERVER)}
        # What is not taken may be what it will.
        require_sound({k: v for k, v in taken.items() if k not in merged}, partial(_origin, source))
        merged = {**taken, **merged}
        if not settled and _SERVER_WORDS & found.keys():
            named_by = source
    return Conninfo(merged), named_by


def _origin(source: Source, word: str) -> str:
    """Return where `source` says `word`, as the reader finds it."""
    if source is Source.LIBPQ:
        return next(name for name, known in libpq_variables().items() if known == word)
    return {
        Source.OPTION: "--conninfo",
        Source.ENVIRONMENT: "CASEDB_CONNINFO",
        Source.FILE: f"conninfo in {FILE_NAME}",
    }.get(source, str(source))
