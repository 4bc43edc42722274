"""What a control is, and what is found of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

APPLY = "`casedb host apply` puts it back."


@dataclass(frozen=True)
class Finding:
    """One control: whether it holds, what was found, and the way out."""

    control: str
    title: str
    holds: bool
    found: str
    mend: str
    source: str
    waived: str = ""
    """The reason why it need not hold; empty: it must."""

    @property
    def well(self) -> bool:
        """Whether nothing has to be done."""
        return self.holds or bool(self.waived)


@dataclass(frozen=True)
class Control:
    """What has to hold on a host."""

    name: str
    title: str
    mend: str
    page: str
    """Of PostgreSQL's documentation, or a whole address."""
    violations: Callable[[Mapping[str, Any]], list[str]]
    """What is wrong; nothing: the control holds."""
    everywhere: bool = False
    """Whether it is also for hosts that have no server, and drill backups."""
