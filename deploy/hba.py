"""pg_hba.conf out of data: who may come from where, and how they prove it. Pure."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.conf import SERVICE_USER

# What lets somebody in without a proof, or with one that can be read or replayed on the way.
_FORBIDDEN = {
    "trust": "lets everybody in without a proof",
    "password": "sends the password in clear",
    "md5": "can be broken; PostgreSQL deprecates it since 18",
    "ident": "believes what the client's machine says",
}
_METHODS = {"scram-sha-256", "peer", "cert", "reject", "ldap", "gss", "radius", "pam"}
_TYPES = {"local", "hostssl", "hostgssenc", "host"}
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")
# With these words PostgreSQL means something else than a database or role of that name.
_KEYWORDS = {"all", "sameuser", "samerole", "replication", "samehost", "samenet"}


@dataclass(frozen=True)
class Rule:
    """One line of pg_hba.conf."""

    type: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str = ""
    """A network such as 10.0.0.0/8, or samehost, samenet, all; empty for local."""
    method: str = "scram-sha-256"
    options: tuple[tuple[str, str], ...] = ()
    comment: str = ""


TOOLKIT_ROLES = ("case_migrator", "case_seed", "case_backup", "case_readonly", "case_monitor")
"""Whom the toolkit's account on the host may log in as, by its socket and without a password."""


def local_rules(port_networks: Sequence[str] = (), service_roles: Sequence[str] = ()) -> list[Rule]:
    """Return the rules of every server of ours: postgres by its socket, all others by SCRAM on TLS.

    `port_networks` are the networks from which clients may come; this machine always may.
    `service_roles` are those that the toolkit's own account on the host may be.
    """
    found = [
        Rule("local", ("all",), ("postgres",), method="peer", comment="the administrator's way in"),
        *(
            [
                Rule(
                    "local",
                    ("all",),
                    tuple(service_roles),
                    method="peer",
                    options=(("map", SERVICE_USER),),
                    comment="the toolkit's account on this host",
                )
            ]
            if service_roles
            else []
        ),
        Rule("local", ("all",), ("all",), comment="services on this machine, with a passfile"),
    ]
    for network in ("127.0.0.1/32", "::1/128", *port_networks):
        # postgres has no password and never comes by the network; said here, so that it stays so.
        found.append(Rule("hostssl", ("all",), ("postgres",), network, "reject"))
        found.append(Rule("hostssl", ("all",), ("all",), network))
    return found


def check(rules: Sequence[Rule]) -> list[str]:
    """Return what is wrong with `rules`, a sentence each; none: they are as safe as we promise."""
    problems = []
    if not rules:
        problems.append("there is no rule: nobody could log in")
    elif rules[0] != Rule(
        "local", ("all",), ("postgres",), method="peer", comment=rules[0].comment
    ):
        problems.append(
            "the first rule has to be: local all postgres peer, or we lock ourselves out"
        )
    for number, rule in enumerate(rules, 1):
        where = f"rule {number} ({rule.type} {','.join(rule.users)} {rule.address})".rstrip()
        if rule.type not in _TYPES:
            problems.append(f"{where}: there is no connection type {rule.type}")
        if rule.method in _FORBIDDEN:
            problems.append(f"{where}: {rule.method} {_FORBIDDEN[rule.method]}")
        elif rule.method not in _METHODS:
            problems.append(f"{where}: there is no method {rule.method}")
        if rule.type == "host" and rule.method != "reject":
            problems.append(f"{where}: host lets clients in without TLS; use hostssl")
        if (rule.type == "local") == bool(rule.address):
            problems.append(f"{where}: local has no address, all others have one")
        if rule.method == "peer" and rule.type != "local":
            problems.append(f"{where}: peer is for local connections only")
        if not rule.databases or not rule.users:
            problems.append(f"{where}: it names no database or no user")
    return problems


def render(rules: Sequence[Rule]) -> str:
    """Return pg_hba.conf. Names are quoted where they could be taken for something else."""
    lines = ["# Written by casedb from the inventory; a change made here is put back.", ""]
    for rule in rules:
        if rule.comment:
            lines.append(f"# {rule.comment}")
        words = [rule.type, _list(rule.databases), _list(rule.users)]
        words += [rule.address] if rule.address else []
        words += [rule.method, *(f'{key}="{value}"' for key, value in rule.options)]
        lines.append("  ".join(words))
    return "\n".join(lines) + "\n"


def _list(names: Sequence[str]) -> str:
    return ",".join(_word(name) for name in names)


def _word(name: str) -> str:
    if name in _KEYWORDS or _PLAIN.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def parse_rules(text: str) -> list[Rule]:
    """Return the rules of a pg_hba.conf, as far as the controls need them."""
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True)
        lexer.whitespace_split = True
        lexer.quotes = '"'
        lexer.escape = ""
        words = list(lexer)
        if len(words) < 4:
            continue
        local = words[0] == "local"
        rest = words[3:] if local else words[4:]
        method = rest[0] if rest else ""
        # An address may be followed by a mask of its own.
        if not local and rest and rest[0][0].isdigit() and len(rest) > 1:
            method = rest[1]
        databases, users = tuple(words[1].split(",")), tuple(words[2].split(","))
        found.append(Rule(words[0], databases, users, "" if local else words[3], method))
    return found
