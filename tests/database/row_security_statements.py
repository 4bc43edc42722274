"""What users do, as values: who acts, and one statement."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

CLERK, CHAIR, WORKER = "CLERK", "CHAIR", "CASEWORKER"
STATUSES = ("NEW", "PENDING_REVIEW", "ASSIGNED", "IN_PROGRESS", "PENDING_COMPLETION", "COMPLETED")
# The tables about a case, and their column for who wrote the row.
ENTRIES = {"case_logs": "user_id", "case_documents": "uploaded_by", "case_comments": "user_id"}
TABLES = ("users", "cases", *ENTRIES)
# Tables behind the scenes, and a column of each: no role of the application has anything there.
BACKSTAGE = {
    "ops.case_transitions": "role",
    "audit.user_logs": "action",
    "audit.salts": "salt",
    "audit.staged_case_logs": "action",
}
Value = str | UUID | bool | None


class Way(Enum):
    """How the transaction says who acts."""

    ACT_AS = "act_as"
    ROLE_ONLY = "the role without an identity"
    NOTHING = "the back end's login itself"
    MAINTENANCE = "the role that maintains the users"


@dataclass(frozen=True)
class Actor:
    way: Way
    user: UUID | None = None
    role: str | None = None

    def __str__(self) -> str:
        return f"{self.way.value} {self.role or ''} {self.user.hex[-1] if self.user else ''}"


class Form(Enum):
    """How a statement reaches rows."""

    ALL = "all"
    ONE = "one, by its id"
    FILTER = "those that a filter on a column lets through"
    JOIN = "by way of another table"
    COUNT = "their number"
    SEARCH = "by the function that searches titles; other tables have none, and show all"


@dataclass(frozen=True)
class Select:
    table: str
    form: Form = Form.ALL
    number: int = 0
    column: str = "id"


@dataclass(frozen=True)
class InsertCase:
    creator: UUID
    assignee: UUID | None = None
    status: str = "NEW"


@dataclass(frozen=True)
class InsertEntry:
    table: str
    number: int
    """Of the case, modulo how many there are."""
    by: UUID


@dataclass(frozen=True)
class Upsert:
    """INSERT ... ON CONFLICT against a row that is there, whether or not one sees it."""

    table: str
    number: int
    """Of the row, and of the case that the new row would be about."""
    by: UUID
    update: bool
    """DO UPDATE, else DO NOTHING."""


@dataclass(frozen=True)
class Update:
    table: str
    changes: tuple[tuple[str, Value], ...]
    form: Form = Form.ONE
    number: int = 0


@dataclass(frozen=True)
class Delete:
    table: str
    form: Form = Form.ONE
    number: int = 0


@dataclass(frozen=True)
class Truncate:
    table: str


@dataclass(frozen=True)
class Backstage:
    """Any verb, on a table that is none of the application's business."""

    table: str
    verb: str


@dataclass(frozen=True)
class Reassign:
    """The one way to take a case from a caseworker: the function reassign_case()."""

    number: int
    giver: UUID
    taker: UUID


@dataclass(frozen=True)
class Comment:
    """The function comment_on_case()."""

    number: int


@dataclass(frozen=True)
class Erase:
    """The function erase_comment()."""

    number: int


@dataclass(frozen=True)
class Maintain:
    """What is done to users from outside of the application: activity and role."""

    number: int
    column: str
    """active or role."""
    value: str | bool


Statement = (
    Select
    | InsertCase
    | InsertEntry
    | Upsert
    | Update
    | Delete
    | Truncate
    | Backstage
    | Reassign
    | Comment
    | Erase
    | Maintain
)


@dataclass(frozen=True)
class Step:
    """One transaction of the back end: somebody, one statement."""

    actor: Actor
    statement: Statement

    def __str__(self) -> str:
        return f"{self.actor}: {self.statement}"


@dataclass(frozen=True)
class Prediction:
    """What ought to come of a step."""

    refused: bool = False
    seen: frozenset[UUID] | None = None
    """The ids that a SELECT returns."""
    count: int | None = None
    """How many rows a statement writes, or counts."""


REFUSED = Prediction(refused=True)
