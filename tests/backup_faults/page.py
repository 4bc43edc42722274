"""The fault matrix in docs/backups.md: written from what a run left, and compared with it. Pure."""

import re
from collections.abc import Iterable, Sequence

Row = Sequence[str]
"""Verb, phase, fault, proof, outcome, next run: what a cell leaves."""
Cell = tuple[str, str, str, str, str]
"""Verb, fault and phase, which make a cell; outcome and next run, as far as they are lasting."""
HEAD = "| what | fault | hit while | what came of it | the next run |\n|---|---|---|---|---|\n"
_TABLE = re.compile(re.escape(HEAD) + r"(?P<rows>(?:\|.*\n)*)")
_NUMBER = re.compile(r"^\d+ ")
_TIME = re.compile(r", \d+\.\d s$")
_COUNT = re.compile(r"\b\d+(?= (MB|MiB|found|requests?|parts? (sent|refused))\b)")


def cells_of(rows: Iterable[Row]) -> set[Cell]:
    """Return the cells that left `rows`."""
    return {
        (verb, fault, _NUMBER.sub("", phase), lasting(outcome), lasting(again))
        for verb, phase, fault, _proof, outcome, again in rows
    }


def cells_in(page: str) -> set[Cell]:
    """Return the cells that the table in `page` shows."""
    found = _TABLE.search(page)
    if not found:
        return set()
    rows = [line.strip("| ").split(" | ") for line in found["rows"].splitlines()]
    return {
        (what, fault, phase, lasting(outcome), lasting(again))
        for what, fault, phases, outcome, again in rows
        for phase in phases.split(", ")
    }


def lasting(text: str) -> str:
    """Return an outcome without what changes from run to run; exit codes and what is left stay."""
    return _COUNT.sub("N", _TIME.sub("", text))


def written(page: str, rows: Iterable[Row]) -> str:
    """Return `page` with a table of `rows`; phases that came to the same stand together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for verb, phase, fault, _proof, outcome, again in sorted(map(tuple, rows)):
        # Read back, it would be two.
        assert ", " not in phase, phase
        key = (verb, fault, outcome, _TIME.sub("", again))
        together.setdefault(key, []).append(_NUMBER.sub("", phase))
    lines = [
        f"| {verb} | {fault} | {', '.join(phases)} | {outcome} | {again} |\n"
        for (verb, fault, outcome, again), phases in together.items()
    ]
    return _TABLE.sub(lambda _found: HEAD + "".join(lines), page, count=1)
