"""What libpq's words may be set to, so far as their text alone can tell: a port is a number.

libpq looks at them when it connects, and then says neither where a value came from nor that no
server was asked at all. What only it can judge (services, files, one word against another) is left
to it; see `faulty_words` in casedb/database.py.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import re
from collections.abc import Callable, Mapping

from casedb.conninfo import IN_A_URL
from casedb.errors import ConfigurationError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslcertmode": ("disable", "allow", "require"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
}
NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
# As parse_int_param() in fe-connect.c reads them: spaces around it, nothing after it.
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,9}\s*")


def require_sound(words: Mapping[str, str], origin: Callable[[str], str]) -> None:
    """Refuse a value that no server can have; `origin` says where a word came from.

    Raises:
        ConfigurationError: it names the word and its origin, and never its value: after a
            password's own @ or :, a URL has the rest of the password there.
    """
    for word, value in words.items():
        if wanted := _fault(word, value):
            said_by = origin(word)
            # A variable of libpq holds that one word, and no URL.
            advice = "" if said_by.startswith("PG") else f" {IN_A_URL}"
            raise ConfigurationError(
                f"{word} has to be {wanted}",
                detail=f"{said_by} says something else. No server was asked.",
                hint=f"Correct {said_by}.{advice}",
            )


def _fault(word: str, value: str) -> str | None:
    """Return what `word` has to be, if `value` is not that."""
    if word in CHOICES and value not in CHOICES[word]:
        return f"one of {', '.join(CHOICES[word])}"
    if word in NUMBERS and not _WHOLE.fullmatch(value):
        return "a whole number"
    # A socket's name may begin with it, and no server's has it.
    if word == "host" and any("@" in one[1:] for one in value.split(",")):
        return "a name, an address, or a socket's folder"
    # One for each host, or one for all; an empty one is libpq's default.
    if word == "port" and not all(not one or _is_port(one) for one in value.split(",")):
        return "a number from 1 to 65535"
    return None


def _is_port(text: str) -> bool:
    return bool(_WHOLE.fullmatch(text)) and 1 <= int(text) <= 65535
