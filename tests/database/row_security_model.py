"""What row security ought to do, in Python: who sees and changes which rows.

Written from the requirements and not from the policies. A test runs the same statements on a real
server and on this model (row_security_checker.py) and compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from tests.database.row_security_statements import (
    CHAIR,
    CLERK,
    ENTRIES,
    REFUSED,
    STATUSES,
    WORKER,
    Actor,
    Backstage,
    Comment,
    Delete,
    Erase,
    Form,
    InsertCase,
    InsertEntry,
    Maintain,
    Prediction,
    Reassign,
    Select,
    Step,
    Truncate,
    Update,
    Upsert,
    Value,
    Way,
)
from tests.database.row_security_world import CASES, USERS, Case, Entry, User

# The columns a role may change; everything else is refused whatever the rows.
CHANGEABLE = {
    ("cases", CLERK): {"title", "description", "priority", "status"},
    ("cases", CHAIR): {"title", "description", "priority", "status", "assigned_to"},
    ("cases", WORKER): {"description", "priority", "status"},
    **{("users", role): {"first_name", "last_name", "password"} for role in (CLERK, CHAIR, WORKER)},
}
# Who takes a case from one state to the next. There is no step back.
STEPS = {
    ("NEW", "PENDING_REVIEW"): {CLERK, CHAIR},
    ("PENDING_REVIEW", "ASSIGNED"): {CHAIR},
    ("ASSIGNED", "IN_PROGRESS"): {WORKER},
    ("IN_PROGRESS", "PENDING_COMPLETION"): {WORKER},
    ("PENDING_COMPLETION", "COMPLETED"): {CHAIR},
}
BEFORE_ASSIGNMENT = STATUSES[:2]
# Whoever has such a case is needed.
OPEN = STATUSES[2:5]


@dataclass
class Model:
    """All rows, and the rules."""

    users: dict[UUID, User] = field(default_factory=lambda: {u.id: u for u in USERS})
    cases: dict[UUID, Case] = field(default_factory=lambda: {c.id: c for c in CASES})
    entries: dict[str, dict[UUID, Entry]] = field(default_factory=lambda: {t: {} for t in ENTRIES})
    numbered: dict[str, list[UUID]] = field(default_factory=dict)
    """Where statements were numbered before: the rows that there were then, by table."""

    def copy(self) -> "Model":
        """Return another one with the same rows, numbered as they are now."""
        entries = {table: dict(rows) for table, rows in self.entries.items()}
        return Model(dict(self.users), dict(self.cases), entries)

    def rows(self, table: str) -> list[UUID]:
        """Return the ids of all rows, in the order in which statements number them."""
        if table == "users":
            return sorted(self.users)
        return sorted(self.cases if table == "cases" else self.entries[table])

    def nth(self, table: str, number: int) -> UUID:
        """Return the id that a statement means by `number`; of an empty table, one of nothing."""
        rows = self.numbered.get(table) or self.rows(table)
        return rows[number % len(rows)] if rows else UUID(int=number)

    def acts(self, actor: Actor) -> User | None:
        """Return the user for whom something can be done at all."""
        user = self.users.get(actor.user) if actor.user else None
        return user if user and user.active else None

    def visible(self, actor: Actor, table: str) -> set[UUID]:
        """Return the ids of the rows that an actor may see."""
        user = self.acts(actor)
        if user is None:
            return set()
        if table == "users":
            return set(self.users)
        cases = {
            case.id
            for case in self.cases.values()
            if user.role == CHAIR
            or (user.role == CLERK and case.created_by == user.id)
            or (user.role == WORKER and case.assigned_to == user.id)
        }
        if table == "cases":
            return cases
        return {entry.id for entry in self.entries[table].values() if entry.case in cases}

    def predict(self, step: Step) -> Prediction:
        """Return what ought to come of a step."""
        actor, statement = step.actor, step.statement
        if actor.way is Way.ACT_AS and self.acts(actor) is None:
            # Nobody acts as an unknown or inactive user: the transaction fails at once.
            return REFUSED
        if actor.way is Way.NOTHING:
            return REFUSED
        if actor.role is not None and actor.user and self.users[actor.user].role != actor.role:
            # Maintenance gave him another role.
            actor = replace(actor, role=self.users[actor.user].role)
        match statement:
            case Select():
                return self._select(actor, statement)
            case InsertCase():
                return self._insert_case(actor, statement)
            case InsertEntry():
                return self._insert_entry(actor, statement)
            case Update():
                return self._update(actor, statement)
            case Reassign():
                return self._reassign(actor, statement)
            case Comment(number=number):
                case = self.nth("cases", number)
                return Prediction(count=1) if case in self.visible(actor, "cases") else REFUSED
            case Erase(number=number):
                comment = self.entries["case_comments"].get(self.nth("case_comments", number))
                chair = self.acts(actor) is not None and actor.role == CHAIR
                return Prediction(count=1) if chair and comment and not comment.erased else REFUSED
            case Maintain():
                return self._maintain(statement)
            case Upsert():
                return self._upsert(actor, statement)
            case Delete() | Truncate() | Backstage():
                # Nothing is ever deleted.
                return REFUSED

    def _select(self, actor: Actor, statement: Select) -> Prediction:
        if statement.column == "password":
            return REFUSED
        seen = self.visible(actor, statement.table)
        if statement.form is Form.ONE:
            seen &= {self.nth(statement.table, statement.number)}
        if statement.form is Form.FILTER and statement.table == "case_comments":
            # The filter is on the text, and that of an erased one is unknown.
            seen = {row for row in seen if not self.entries["case_comments"][row].erased}
        if statement.form is Form.JOIN and statement.table == "users":
            # The creators of the cases one sees.
            seen &= {self.cases[case].created_by for case in self.visible(actor, "cases")}
        if statement.form is Form.COUNT:
            return Prediction(count=len(seen))
        return Prediction(seen=frozenset(seen))

    def _insert_case(self, actor: Actor, new: InsertCase) -> Prediction:
        user = self.acts(actor)
        allowed = (
            user is not None
            and user.role in (CLERK, CHAIR)
            and new.creator == user.id
            and new.assignee is None
            and new.status == "NEW"
        )
        return Prediction(count=1) if allowed else REFUSED

    def _insert_entry(self, actor: Actor, new: InsertEntry) -> Prediction:
        if new.table == "case_logs":
            # The log is written by what happens, and by nobody.
            return REFUSED
        user = self.acts(actor)
        case = self.nth("cases", new.number)
        allowed = user is not None and new.by == user.id and case in self.visible(actor, "cases")
        return Prediction(count=1) if allowed else REFUSED

    def _upsert(self, actor: Actor, wanted: Upsert) -> Prediction:
        if wanted.table == "users":
            return REFUSED
        if wanted.table == "cases":
            # What is proposed has to be one that could be inserted, whatever becomes of it.
            proposed = self._insert_case(actor, InsertCase(wanted.by))
        else:
            proposed = self._insert_entry(
                actor, InsertEntry(wanted.table, wanted.number, wanted.by)
            )
        if proposed.refused or not wanted.update:
            return REFUSED if proposed.refused else Prediction(count=0)
        # Of the tables with INSERT, cases alone can be updated, and only those one sees.
        seen = self.visible(actor, "cases") if wanted.table == "cases" else set()
        return Prediction(count=1) if self.nth("cases", wanted.number) in seen else REFUSED

    def _update(self, actor: Actor, statement: Update) -> Prediction:
        columns = {column for column, _ in statement.changes}
        if not columns <= CHANGEABLE.get((statement.table, actor.role or ""), set()):
            return REFUSED
        reached = self.reached(actor, statement)
        if statement.table == "cases" and any(
            self._breaks_a_rule(actor, self.cases[case], dict(statement.changes))
            for case in reached
        ):
            return REFUSED
        return Prediction(count=len(reached))

    def reached(self, actor: Actor, statement: Update) -> set[UUID]:
        """Return the ids of the rows that an UPDATE changes."""
        if statement.table == "users":
            user = self.acts(actor)
            rows = {user.id} if user else set()
        else:
            rows = self.visible(actor, statement.table)
        if statement.form is Form.ONE:
            rows &= {self.nth(statement.table, statement.number)}
        return rows

    def touched(self, step: Step, new_id: UUID) -> set[UUID]:
        """Return the ids of the cases about which a step may write to the log."""
        match step.statement:
            case InsertCase():
                return {new_id}
            case InsertEntry(number=number):
                return {self.nth("cases", number)}
            case (
                Reassign(number=number)
                | Comment(number=number)
                | Upsert(table="cases", number=number, update=True)
            ):
                return {self.nth("cases", number)}
            case Erase(number=number):
                comment = self.nth("case_comments", number)
                return {self.entries["case_comments"][comment].case}
            case Update(table="cases"):
                return self.reached(step.actor, step.statement)
            case _:
                return set()

    def _breaks_a_rule(self, actor: Actor, case: Case, changes: dict[str, object]) -> bool:
        status = str(changes.get("status", case.status))
        assignee = changes.get("assigned_to", case.assigned_to)
        if status != case.status and actor.role not in STEPS.get((case.status, status), set()):
            return True
        if assignee != case.assigned_to and case.assigned_to is not None:
            # Only reassign_case() takes a case from somebody.
            return True
        if status in BEFORE_ASSIGNMENT:
            return assignee is not None
        # Whose case is completed may be gone; a new assignee may not.
        return assignee is None or (assignee != case.assigned_to and not self._can_work(assignee))

    def _can_work(self, who: object) -> bool:
        user = self.users.get(who) if isinstance(who, UUID) else None
        return user is not None and user.role == WORKER and user.active

    def _reassign(self, actor: Actor, wanted: Reassign) -> Prediction:
        case = self.cases[self.nth("cases", wanted.number)]
        allowed = (
            actor.role == CHAIR
            and self.acts(actor) is not None
            and case.status in OPEN
            and case.assigned_to == wanted.giver
            and (wanted.taker == wanted.giver or self._can_work(wanted.taker))
        )
        return Prediction(count=1) if allowed else REFUSED

    def _maintain(self, wanted: Maintain) -> Prediction:
        user = self.users[self.nth("users", wanted.number)]
        now = replace(user, **_columns({wanted.column: wanted.value}))
        if self._can_work(user.id) and not (now.role == WORKER and now.active):
            has_open = any(
                c.assigned_to == user.id and c.status in OPEN for c in self.cases.values()
            )
            return REFUSED if has_open else Prediction(count=1)
        return Prediction(count=1)

    def apply(self, step: Step, new_id: UUID) -> None:
        """Do what a step that was not refused does; `new_id` is the id of what it inserted."""
        match step.statement:
            case InsertCase(creator=creator, assignee=assignee, status=status):
                self.cases[new_id] = Case(new_id, creator, assignee, status)
            case InsertEntry(table=table, number=number, by=by):
                entry = Entry(new_id, self.nth("cases", number), by)
                self.entries[table][new_id] = entry
            case Upsert(table="cases", number=number, update=True):
                case = self.nth("cases", number)
                self.cases[case] = replace(self.cases[case], title="upserted")
            case Comment(number=number):
                entry = Entry(new_id, self.nth("cases", number), step.actor.user or new_id)
                self.entries["case_comments"][new_id] = entry
            case Erase(number=number):
                comment = self.nth("case_comments", number)
                comments = self.entries["case_comments"]
                comments[comment] = replace(comments[comment], erased=True)
            case Reassign(number=number, taker=taker):
                case = self.nth("cases", number)
                self.cases[case] = replace(self.cases[case], assigned_to=taker)
            case Maintain(number=number, column=column, value=value):
                user = self.nth("users", number)
                self.users[user] = replace(self.users[user], **_columns({column: value}))
            case Update(table=table, changes=changes) as update:
                for row in self.reached(step.actor, update):
                    if table == "users":
                        self.users[row] = replace(self.users[row], **_columns(dict(changes)))
                    else:
                        self.cases[row] = replace(self.cases[row], **_columns(dict(changes)))
            case _:
                pass


def _columns(values: Mapping[str, Value]) -> dict[str, Any]:
    return dict(values)
