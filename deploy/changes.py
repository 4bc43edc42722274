"""What an operation is about to change, noted while it is prepared, for the plan to show."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

_VERIFIER = re.compile(r"SCRAM-SHA-256\$[^\s']+|\bmd5[0-9a-f]{32}\b")
_PASSWORD = re.compile(r"(?P<head>\bPASSWORD\s+)'(?:[^']|'')*'", re.IGNORECASE)


@dataclass(frozen=True)
class Change:
    """One thing that differs: what, and the lines that show how."""

    what: str
    lines: tuple[str, ...] = ()
    effect: str = ""
    """"restart", "reload" or nothing: what it does to the running server."""


def text_change(what: str, before: str | None, after: str, *, effect: str = "") -> Change:
    """Return the change of a text, as the lines of a diff."""
    lines = difflib.unified_diff(
        (before or "").splitlines(), after.splitlines(), "found", "wanted", lineterm="", n=1
    )
    # The two lines of the heading say nothing that `what` does not.
    return Change(what, tuple(mask(line) for line in list(lines)[2:]), effect)


def secret_change(what: str, *, effect: str = "") -> Change:
    """Return the change of something that must not be shown."""
    return Change(what, ("(its content is secret)",), effect)


def mask(text: str) -> str:
    """Return `text` without password verifiers and the passwords of SQL."""
    return _PASSWORD.sub(r"\g<head>'***'", _VERIFIER.sub("***", text))


def note(host: Any, change: Change) -> None:
    """Remember `change` as part of the operation that `host` is just preparing or running."""
    noted = host.connector_data.setdefault("casedb_changes", {})
    noted.setdefault(host.current_op_hash, {})[change.what] = change


def remark(host: Any, subject: str, text: str) -> None:
    """Remember what whoever provisions `host` has to know, though it is no change.

    The last word on a subject holds.
    """
    host.connector_data.setdefault("casedb_remarks", {})[subject] = text


def remarks(host: Any) -> list[str]:
    """Return what was remarked of `host`."""
    return list(host.connector_data.get("casedb_remarks", {}).values())


def noted(host: Any, op_hash: str) -> list[Change]:
    """Return the changes noted for one operation of `host`."""
    return list(host.connector_data.get("casedb_changes", {}).get(op_hash, {}).values())
