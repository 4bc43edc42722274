"""libpq's words in, libpq's words out: how a server is reached, with passwords kept from sight.

The words are those of https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qsl, urlencode

from psycopg import ProgrammingError, conninfo, pq

from casedb.errors import ConfigurationError

# Prisma's own parameters in a connection URL; libpq refuses a URL that has any of them.
# https://www.prisma.io/docs/orm/overview/databases/postgresql#arguments
PRISMA_WORDS = frozenset(
    {
        "schema",
        "connection_limit",
        "pool_timeout",
        "pgbouncer",
        "socket_timeout",
        "statement_cache_size",
        "sslaccept",
        "sslidentity",
        "single_use_connections",
    }
)
MASK = "********"


@dataclass(frozen=True)
class Conninfo:
    """The words with which one server, database and login role are reached.

    `repr` and `str` never show the password.
    """

    words: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, *, origin: str = "") -> "Conninfo":
        """Return the words of `text`, a libpq conninfo string or URI; `origin` is for the error.

        Raises:
            ConfigurationError: if libpq cannot read it.
        """
        try:
            words = conninfo.conninfo_to_dict(text)
        except ProgrammingError as error:
            raise ConfigurationError(
                "connection string cannot be read" + (f" (from {origin})" if origin else ""),
                detail=_said_of(text, str(error).strip()),
                hint="Write it as libpq does: 'host=db1 dbname=case_management user=case_backup'."
                f" {IN_A_URL}",
            ) from None
        return cls({k: str(v) for k, v in words.items() if v is not None})

    @classmethod
    def from_database_url(cls, url: str) -> "Conninfo":
        """Return the words of the application's DATABASE_URL, without what only Prisma knows.

        Raises:
            ConfigurationError: if libpq cannot read what is left.
        """
        # By hand: urllib refuses addresses on grounds of its own, and libpq says it better.
        address, _, query = url.partition("?")
        kept = [(k, v) for k, v in parse_qsl(query) if k not in PRISMA_WORDS]
        rest = f"?{urlencode(kept)}" if kept else ""
        return cls.parse(f"{address}{rest}", origin="DATABASE_URL")

    def replace(self, **words: str | int | None) -> "Conninfo":
        """Return a copy with `words` set, or taken out where the value is None."""
        merged = {**self.words, **{k: str(v) for k, v in words.items() if v is not None}}
        return Conninfo({k: v for k, v in merged.items() if words.get(k, "") is not None})

    def get(self, word: str) -> str | None:
        """Return the value of one libpq word, or None."""
        return self.words.get(word)

    @property
    def dbname(self) -> str:
        """The database's name; empty if libpq would choose it."""
        return self.words.get("dbname", "")

    @property
    def user(self) -> str:
        """The login role; empty if libpq would choose it."""
        return self.words.get("user", "")

    @property
    def dsn(self) -> str:
        """Everything as one libpq string, password included: for libpq only, never for a screen."""
        return conninfo.make_conninfo("", **dict(self.words))

    def libpq_env(self) -> dict[str, str]:
        """Return the words as libpq's environment variables, for a child process.

        An argument list is public in `ps`; the environment is not. A word without a variable of
        its own (keepalives and the like) is left out.
        """
        variables = _environment_names()
        return {variables[k]: v for k, v in self.words.items() if k in variables}

    def __str__(self) -> str:
        shown = {k: MASK if k in SECRET_WORDS else v for k, v in self.words.items()}
        return conninfo.make_conninfo("", **shown)


IN_A_URL = "In a URL, a password's @ : / ? # % are written %40 %3A %2F %3F %23 %25."


def _said_of(text: str, said: str) -> str:
    # libpq quotes what it cannot read; where there is a password, that may be a piece of it.
    if "://" in text or "pass" in text.lower():
        return re.sub(r'".*"', f'"{MASK}"', said, flags=re.DOTALL)
    return said


SECRET_WORDS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)


@cache
def _environment_names() -> dict[str, str]:
    defaults = pq.Conninfo.get_defaults()
    return {o.keyword.decode(): o.envvar.decode() for o in defaults if o.envvar}


@cache
def libpq_variables() -> Mapping[str, str]:
    """Return libpq's environment variables and the word each one sets (PGHOST: host)."""
    return {variable: word for word, variable in _environment_names().items()}


_URI_PASSWORD = re.compile(r"(?P<head>\b[a-z][a-z0-9+]*://[^\s:/@]*:)[^\s@]*(?=@)")
_WORD_PASSWORD = re.compile(
    r"(?P<head>\b\w*pass(?:word|wd)\w*\s*[=:]\s*)('(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s'\",;&]+)",
    re.IGNORECASE,
)
_SQL_PASSWORD = re.compile(r"(?P<head>\bPASSWORD\s+)'(?:[^']|'')*'", re.IGNORECASE)
_VERIFIER = re.compile(r"SCRAM-SHA-256\$[^\s']+|\bmd5[0-9a-f]{32}\b")


def redact(text: str) -> str:
    """Return `text` with anything that looks like a password or a password verifier masked.

    >>> redact("postgresql://app:hush@db1/cases failed")
    'postgresql://app:********@db1/cases failed'
    >>> redact("host=db1 password='it''s' user=app")
    "host=db1 password=******** user=app"
    """
    text = _URI_PASSWORD.sub(rf"\g<head>{MASK}", text)
    text = _SQL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    text = _VERIFIER.sub(MASK, text)
    return _WORD_PASSWORD.sub(rf"\g<head>{MASK}", text)
