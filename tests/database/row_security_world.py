"""Who and what there is at the start: the rows that every sequence of steps begins with."""

from dataclasses import dataclass
from uuid import UUID

from tests.database.row_security_statements import CHAIR, CLERK, WORKER, Actor, Way


def user_id(number: int) -> UUID:
    return UUID(int=0xA000 + number)


def case_id(number: int) -> UUID:
    return UUID(int=0xC000 + number)


@dataclass(frozen=True)
class User:
    id: UUID
    role: str
    active: bool = True
    first_name: str = "a"


@dataclass(frozen=True)
class Case:
    id: UUID
    created_by: UUID
    assigned_to: UUID | None
    status: str
    title: str = "t"
    description: str = "d"
    priority: str = "MEDIUM"


@dataclass(frozen=True)
class Entry:
    """An entry of the log, a document or a comment."""

    id: UUID
    case: UUID
    by: UUID
    erased: bool = False


# Two clerks, two chairs, two caseworkers; a clerk and a caseworker who are no longer active.
USERS = [
    User(user_id(number), role, active)
    for number, (role, active) in enumerate(
        [
            (CLERK, True),
            (CLERK, True),
            (CHAIR, True),
            (CHAIR, True),
            (WORKER, True),
            (WORKER, True),
            (CLERK, False),
            (WORKER, False),
        ]
    )
]
CASES = [
    Case(case_id(number), user_id(creator), None if worker is None else user_id(worker), status)
    for number, (creator, worker, status) in enumerate(
        [
            (0, None, "NEW"),
            (1, None, "NEW"),
            (0, None, "PENDING_REVIEW"),
            (1, None, "PENDING_REVIEW"),
            (0, 4, "ASSIGNED"),
            (1, 5, "IN_PROGRESS"),
            (1, 4, "PENDING_COMPLETION"),
            (0, 5, "COMPLETED"),
            (2, None, "PENDING_REVIEW"),
            (6, 4, "ASSIGNED"),
        ]
    )
]


UNKNOWN = UUID(int=0xA0FF)
ACTORS = [
    *(Actor(Way.ACT_AS, user.id, user.role) for user in USERS),
    Actor(Way.ACT_AS, UNKNOWN),
    *(Actor(Way.ROLE_ONLY, role=role) for role in (CLERK, CHAIR, WORKER)),
    Actor(Way.NOTHING),
]
MAINTAINER = Actor(Way.MAINTENANCE)
