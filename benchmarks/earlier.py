"""What the page says of benches that were not run again: it stays as it is.

The results that a page was written from lie outside of the repository, and are gone with the
checkout. To measure one bench anew must not take all others from the page.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from benchmarks.figures import Verdict

TARGETS, SCALES = "## Targets", "## At other scales"
_SECTION = re.compile(r"^## ([a-z0-9-]+): ", re.MULTILINE)
_CODE = re.compile(r"^- .*minutes with all preparations, at (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Earlier:
    """What a page says, by the bench that it says it of."""

    sections: dict[str, str] = field(default_factory=dict)
    targets: dict[str, list[str]] = field(default_factory=dict)
    scales: tuple[str, ...] = ()
    """Which scales the columns of the table at the end are."""
    scaling: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """What that table has of each bench, figure and scale."""

    @property
    def codes(self) -> list[str]:
        """Of which code the sections are."""
        return [code for section in self.sections.values() for code in _CODE.findall(section)]

    def missed(self, bench: str) -> Iterator[str]:
        """Yield the names of the figures that did not reach their targets."""
        for line in self.targets.get(bench, []):
            _, _, figure, *_, verdict, _ = (cell.strip() for cell in line.split("|"))
            if verdict.startswith(f"**{Verdict.MISSED}"):
                yield figure


def read_page(text: str, without: Container[str]) -> Earlier:
    """Return what a page says of all benches but those `without` which it is to be."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    sections = {
        found[1]: part.strip()
        for part in parts
        if (found := _SECTION.match(part)) and found[1] not in without
    }
    scales, scaling = _table(next((part for part in parts if part.startswith(SCALES)), ""))
    return Earlier(
        sections,
        _rows(next((part for part in parts if part.startswith(TARGETS)), ""), sections),
        scales,
        {bench: figures for bench, figures in scaling.items() if bench in sections},
    )


def _table(part: str) -> tuple[tuple[str, ...], dict[str, dict[str, dict[str, str]]]]:
    """Return the scales of the table at the end, and by bench and figure what it has of each."""
    scales: tuple[str, ...] = ()
    found: dict[str, dict[str, dict[str, str]]] = {}
    for line in part.splitlines():
        if line.startswith("| "):
            bench, figure, *cells = (cell.strip() for cell in line.strip(" |").split("|"))
            if not scales:
                scales = tuple(cells)
            else:
                values = dict(zip(scales, cells, strict=False))
                found.setdefault(bench, {})[figure] = {k: v for k, v in values.items() if v}
    return scales, found


def _rows(part: str, benches: Container[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in part.splitlines():
        if line.startswith("| ") and (bench := line.split("|")[1].strip()) in benches:
            found.setdefault(bench, []).append(line)
    return found
