"""Checks of a live database's catalog: what a schema should not have, a rule each.

A rule is one file in `sql/checks/`, and its name is the file's. The head is a comment: what is
wrong in one sentence, why that matters, and a line `-- hint: ` with the way out. The query returns
one row for each finding: what it is about, and a detail or null.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.sqlfiles import folder, read_sql

_HINT = "hint:"
# Reading the catalog takes milliseconds; more means that somebody holds what a rule waits for.
_SETTINGS = {"default_transaction_read_only": "on", "lock_timeout": "2s", "search_path": "''"}


@dataclass(frozen=True)
class Rule:
    """One thing that a schema should not have."""

    name: str
    message: str
    """What is wrong, a sentence without its full stop."""
    why: str
    hint: str


@dataclass(frozen=True)
class Finding:
    """One thing that a rule has found."""

    rule: str
    object: str
    """What it is about, with its schema."""
    detail: str | None
    message: str
    hint: str


def read_rules() -> list[Rule]:
    """Return all rules, by name.

    Raises:
        ConfigurationError: a file's head is not complete.
    """
    paths = sorted((folder("sql") / "checks").glob("*.sql"))
    return [parse_head(path.stem, path.read_text("utf-8")) for path in paths]


def parse_head(name: str, text: str) -> Rule:
    """Return the rule whose file has this text: pure.

    >>> parse_head("x", "-- It is wrong.\\n-- Because.\\n-- hint: Mend it.\\nSELECT 1").hint
    'Mend it.'
    """
    head = re.match(r"(?:--[^\n]*\n)+", text)
    lines = [line.removeprefix("--").strip() for line in head.group().splitlines()] if head else []
    hints = [i for i, line in enumerate(lines) if line.startswith(_HINT)]
    if not hints or hints[0] < 1:
        raise ConfigurationError(
            f"sql/checks/{name}.sql does not say what it is about",
            hint="Its head is a comment: the finding in a sentence, why, and a line `-- hint: `.",
        )
    hint = " ".join(lines[hints[0] :]).removeprefix(_HINT).strip()
    why = " ".join(lines[1 : hints[0]])
    return Rule(name, lines[0].rstrip("."), why, hint)


def run_checks(target: Conninfo, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """Return what the rules find in the connected database; changes nothing.

    Any login role may run them: the system catalog is open to everybody.

    Raises:
        ServerUnreachableError: no server.
        ToolFailedError: a rule's query failed.
    """
    findings = []
    with connect(target, purpose="check schema", settings=_SETTINGS) as connection:
        for rule in read_rules() if rules is None else rules:
            rows = connection.execute(read_sql(f"checks/{rule.name}.sql")).fetchall()
            findings += [
                Finding(rule.name, object_, detail, rule.message, rule.hint)
                for object_, detail in sorted(rows, key=lambda row: (row[0], row[1] or ""))
            ]
    return findings
