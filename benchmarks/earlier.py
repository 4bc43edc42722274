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
    """The lines of a page, by the bench that they are of."""

    sections: dict[str, str] = field(default_factory=dict)
    targets: dict[str, list[str]] = field(default_factory=dict)
    scaling: dict[str, list[str]] = field(default_factory=dict)
    scales: str = ""
    """Which scales the columns of `scaling` are."""

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
    table = next((part for part in parts if part.startswith(SCALES)), "")
    return Earlier(
        sections,
        _rows(next((part for part in parts if part.startswith(TARGETS)), ""), sections),
        _rows(table, sections),
        next((line for line in table.splitlines() if line.startswith("| bench |")), ""),
    )


def _rows(part: str, benches: Container[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in part.splitlines():
        if line.startswith("| ") and (bench := line.split("|")[1].strip()) in benches:
            found.setdefault(bench, []).append(line)
    return found
