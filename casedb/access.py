"""Who may do what: the cells of the access matrix, what is expected of them, and how they differ.

A cell is a role, a target (a table, or one column of it), whose rows, and a verb. What is expected
stands in `sql/access/expected.csv`, written by hand from the requirements; what is found comes from
`casedb.access_probe`, which tries each cell on a database. Nothing here talks to a server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from casedb.errors import ConfigurationError
from casedb.sqlfiles import read_sql

EXPECTED_FILE = "access/expected.csv"
_NOT_PROBED = "-"


class Verb(StrEnum):
    """What is tried. TRUNCATE has no rows: it is the same cell whoever's row is meant."""

    SELECT = "SELECT"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"


class Rows(StrEnum):
    """Whose rows are meant, as seen by the user who acts."""

    OWN = "own"
    """His own: the clerk created the case, the caseworker has it, the chair created it."""
    OTHER = "other"
    """Another user's of the same role."""
    FORGED = "forged"
    """A new row in another's name, on a case of one's own."""
    UNSET = "unset"
    """His own, but the transaction does not say who acts."""
    ANY = "any"
    """Anybody's: a login role acts for nobody, and names a chair as responsible for the log."""


class Outcome(StrEnum):
    """What came of one attempt."""

    YES = "yes"
    """The row was read or written."""
    HIDDEN = "hidden"
    """No error and no row: row security left it out."""
    DENIED = "denied"
    """The role has no right to the table or the column."""
    POLICY = "policy"
    """Row security refused the new row (WITH CHECK)."""
    RULE = "rule"
    """A constraint or a trigger refused it."""
    ERROR = "error"
    """Anything else. It is never expected."""


@dataclass(frozen=True, order=True)
class Cell:
    """One question of the matrix."""

    role: str
    target: str
    """A table of schema public ("cases"), one column of it ("users.password"), or a function that
    lends the rights of its owner ("login()"); to call one is a SELECT."""
    rows: Rows
    verb: Verb

    @property
    def function(self) -> str:
        """The name of the function; empty if the target is none."""
        return self.target.removesuffix("()") if self.target.endswith("()") else ""

    @property
    def table(self) -> str:
        """The table, without the column; empty if the target is a function."""
        return "" if self.function else self.target.partition(".")[0]

    @property
    def column(self) -> str:
        """The column; empty if the target is the whole table."""
        return self.target.partition(".")[2]

    def __str__(self) -> str:
        return f"{self.role}: {self.verb} {self.target} ({self.rows})"


@dataclass(frozen=True)
class Answer:
    """What one attempt brought, and how PostgreSQL put it."""

    outcome: Outcome
    sqlstate: str | None = None
    message: str | None = None


Expected = Mapping[Cell, Outcome]
Found = Mapping[Cell, Answer]


@dataclass(frozen=True)
class Stranger:
    """A right that the matrix knows nothing about: it belongs to no role or table of it."""

    target: str
    grantee: str
    """Empty if nobody in particular has it: the relation itself is unknown."""


@dataclass(frozen=True)
class Difference:
    """One cell that is not as expected."""

    cell: Cell
    expected: Outcome
    answer: Answer

    def __str__(self) -> str:
        said = f" ({self.answer.sqlstate}: {self.answer.message})" if self.answer.sqlstate else ""
        return f"{self.cell}: expected {self.expected}, found {self.answer.outcome}{said}"


def differences(found: Found, expected: Expected) -> tuple[Difference, ...]:
    """Return the cells of `found` that are not as expected, in the order of `expected`."""
    return tuple(
        Difference(cell, outcome, found[cell])
        for cell, outcome in expected.items()
        if cell in found and found[cell].outcome is not outcome
    )


def read_expected() -> dict[Cell, Outcome]:
    """Return what `sql/access/expected.csv` expects, in its order.

    Raises:
        ConfigurationError: the file is missing, or a line of it makes no sense.
    """
    return parse_expected(read_sql(EXPECTED_FILE))


def parse_expected(text: str) -> dict[Cell, Outcome]:
    """Return the cells of a file of expectations: one line for a role, a target and whose rows.

    Columns are separated by commas and may be padded; `#` begins a comment line; `-` leaves a cell
    out. The first other line names the verbs.

    Raises:
        ConfigurationError: naming the line.

    >>> found = parse_expected("role, target, rows, SELECT\\ncase_app, users, any, denied")
    >>> [(str(cell), str(outcome)) for cell, outcome in found.items()]
    [('case_app: SELECT users (any)', 'denied')]
    """
    expected: dict[Cell, Outcome] = {}
    verbs: list[Verb] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [word.strip() for word in line.split(",")]
        try:
            if not verbs:
                verbs = [Verb(word) for word in words[3:]]
                continue
            role, target, rows = words[0], words[1], Rows(words[2])
            cells = dict(zip(verbs, words[3:], strict=True))
            for verb, word in cells.items():
                cell = Cell(role, target, rows, verb)
                if cell in expected:
                    raise ValueError("the cell is there twice")
                if word != _NOT_PROBED:
                    expected[cell] = Outcome(word)
        except (ValueError, IndexError) as error:
            raise ConfigurationError(
                f"line {number} of the expected access cannot be read",
                detail=f"{line.strip()}: {error}.",
                hint="A line is: role, target, rows, then one word a verb; see docs/access.md.",
            ) from None
    return expected


def roles_of(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the roles of `cells`, each once, in their order."""
    return tuple(dict.fromkeys(cell.role for cell in cells))
