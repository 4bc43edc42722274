"""Realistic cases by the million: invented from a number, the same ones every time. Pure.

Whoever asks for the same number of cases and the same seed gets the same rows, byte for byte, on
every machine. A block of cases can be made without those before it, so nothing is held in memory
and an interrupted load goes on where it stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import NamedTuple

from casedb.volume_words import describe_case, name_document, name_person, title_case

BLOCK = 5_000
"""Cases that are made, and loaded, at a time."""

# A fixed past: with today's date the same seed would give other rows tomorrow.
_END = datetime(2025, 12, 31, tzinfo=UTC)
_SPAN = timedelta(days=3 * 365)
_END_MS = int(_END.timestamp() * 1000)
_SPAN_MS = int(_SPAN.total_seconds() * 1000)
_HOUR_MS = 3_600_000

CLERK, CHAIR, CASEWORKER = "CLERK", "CHAIR", "CASEWORKER"
_FLOW = ("NEW", "PENDING_REVIEW", "ASSIGNED", "IN_PROGRESS", "PENDING_COMPLETION", "COMPLETED")
# Of the cases that are still open: how many stand where, in percent.
_OPEN_SHARES = (15, 15, 20, 40, 10)
_OPEN_LIMITS = tuple(accumulate(share / 100 for share in _OPEN_SHARES))
_PRIORITIES = ("LOW",) * 5 + ("MEDIUM",) * 10 + ("HIGH",) * 4 + ("URGENT",)


class User(NamedTuple):
    """One row of public.users, without its password."""

    id: str
    email: str
    role: str
    first_name: str
    last_name: str
    created_at: datetime


class Case(NamedTuple):
    """One row of public.cases."""

    id: str
    title: str
    description: str
    status: str
    priority: str
    created_by: str
    assigned_to: str | None
    created_at: datetime
    updated_at: datetime


class Entry(NamedTuple):
    """One entry of a case's log, in the order of its chain."""

    id: str
    case_id: str
    user_id: str
    action: str
    details: str
    """JSON."""
    timestamp: datetime


class Document(NamedTuple):
    """One row of public.case_documents."""

    id: str
    case_id: str
    filename: str
    s3_key: str
    mime_type: str
    file_size: int
    uploaded_by: str
    uploaded_at: datetime


@dataclass(frozen=True)
class Block:
    """Some cases with all that belongs to them."""

    number: int
    cases: list[Case] = field(repr=False)
    entries: list[Entry] = field(repr=False)
    documents: list[Document] = field(repr=False)


@dataclass(frozen=True)
class Volume:
    """So many cases, from this seed."""

    cases: int
    seed: int

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last one may be short."""
        return -(-self.cases // BLOCK)

    @property
    def label(self) -> str:
        """What tells this volume's e-mail addresses and keys from another's."""
        return f"s{self.seed}-n{self.cases}"

    @cached_property
    def users(self) -> dict[str, list[User]]:
        """Return the users by role: a clerk per thousand cases, a caseworker per 500."""
        counts = {
            CLERK: max(2, self.cases // 1000),
            CHAIR: max(1, self.cases // 20_000),
            CASEWORKER: max(3, self.cases // 500),
        }
        random = self._random("users")
        before = _END_MS - _SPAN_MS - 30 * 24 * _HOUR_MS
        return {
            role: [self._user(random, role, number, before) for number in range(1, count + 1)]
            for role, count in counts.items()
        }

    def size_of(self, block: int) -> int:
        """Return how many cases a block has."""
        return min(BLOCK, self.cases - block * BLOCK)

    def first_case_id(self, block: int) -> str:
        """Return the id of a block's first case: where it is, the whole block is."""
        return next(self._cases(block, self._random(f"block {block}")))[0].id

    def block(self, number: int) -> Block:
        """Return one block, from 0."""
        block = Block(number, [], [], [])
        for case, entries, documents in self._cases(number, self._random(f"block {number}")):
            block.cases.append(case)
            block.entries.extend(entries)
            block.documents.extend(documents)
        return block

    def _random(self, what: str) -> Random:
        # Seeded by a text: Random hashes it with SHA-512, the same on every machine and version.
        return Random(f"casedb {self.seed} {self.cases} {what}")

    def _user(self, random: Random, role: str, number: int, created_ms: int) -> User:
        first, last = name_person(random)
        email = f"{role.lower()}{number:05}@{self.label}.example.com"
        return User(_uuid7(random, created_ms), email, role, first, last, _moment(created_ms))

    def _cases(
        self, block: int, random: Random
    ) -> Iterator[tuple[Case, list[Entry], list[Document]]]:
        last_ms = 0
        for index in range(block * BLOCK, min((block + 1) * BLOCK, self.cases)):
            created_ms = _END_MS - _SPAN_MS + int(_SPAN_MS * (index + random.random()) / self.cases)
            # Some come in by the batch, in the very same millisecond.
            if last_ms and random.random() < 0.05:
                created_ms = last_ms
            last_ms = created_ms
            yield self._case(random, created_ms, age=1 - index / self.cases)

    def _case(
        self, random: Random, created_ms: int, *, age: float
    ) -> tuple[Case, list[Entry], list[Document]]:
        clerk = _one_of(random, self.users[CLERK])
        history = _History(random, _uuid7(random, created_ms), created_ms)
        reached = _status_index(random, age)
        priority = random.choice(_PRIORITIES)
        history.add("created", clerk.id, f'{{"status": "{_FLOW[0]}", "priority": "{priority}"}}')
        worker = _one_of(random, self.users[CASEWORKER])
        chair = _one_of(random, self.users[CHAIR])
        # Who takes the step into each status after the first.
        actors = (clerk, chair, worker, worker, chair)
        documents = []
        for step in range(reached):
            if random.random() < 0.12:
                who = clerk if step < 2 else worker
                documents.append(self._document(random, history, who))
            history.wait()
            if _FLOW[step + 1] == "ASSIGNED":
                history.add("assigned", chair.id, f'{{"from": null, "to": "{worker.id}"}}')
            history.add(
                "status_changed",
                actors[step].id,
                f'{{"from": "{_FLOW[step]}", "to": "{_FLOW[step + 1]}"}}',
            )
        case = Case(
            id=history.case_id,
            title=title_case(random),
            description=describe_case(random),
            status=_FLOW[reached],
            priority=priority,
            created_by=clerk.id,
            assigned_to=worker.id if reached >= _FLOW.index("ASSIGNED") else None,
            created_at=_moment(created_ms),
            updated_at=_moment(history.now_ms),
        )
        return case, history.entries, documents

    def _document(self, random: Random, history: "_History", who: User) -> Document:
        history.wait()
        name, mime_type = name_document(random)
        identity = _uuid7(random, history.now_ms)
        document = Document(
            id=identity,
            case_id=history.case_id,
            filename=name,
            s3_key=f"{self.label}/{history.case_id}/{identity}",
            mime_type=mime_type,
            file_size=int(random.lognormvariate(12, 1.2)) % 104_857_600,
            uploaded_by=who.id,
            uploaded_at=_moment(history.now_ms),
        )
        # Without the digests of name and key: their salts are nobody's but the trigger's.
        history.add(
            "document_added",
            who.id,
            f'{{"document": "{identity}", "mime_type": "{mime_type}",'
            f' "file_size": {document.file_size}}}',
        )
        return document


class _History:
    """The log of one case while it is being invented."""

    def __init__(self, random: Random, case_id: str, created_ms: int) -> None:
        self.case_id = case_id
        self.now_ms = created_ms
        self.entries: list[Entry] = []
        self._random = random

    def wait(self) -> None:
        """Let some time pass; it never reaches the end of the span."""
        hours = self._random.expovariate(1 / 60)
        self.now_ms += min(int(hours * _HOUR_MS) + 1000, (_END_MS - self.now_ms) // 12)

    def add(self, action: str, user_id: str, details: str) -> None:
        """Write one entry, now."""
        identity = _uuid7(self._random, self.now_ms)
        when = _moment(self.now_ms)
        self.entries.append(Entry(identity, self.case_id, user_id, action, details, when))


def _status_index(random: Random, age: float) -> int:
    """Return how far in the flow a case is; `age` is 1 for the oldest and 0 for the newest."""
    # Nearly all of the newest are open, and a few per cent of the old ones never end.
    if random.random() >= 0.05 + 0.9 * 2.718281828 ** (-20 * age):
        return len(_FLOW) - 1
    position = random.random()
    return next((i for i, limit in enumerate(_OPEN_LIMITS) if position < limit), 3)


def _one_of(random: Random, users: list[User]) -> User:
    # Work is never spread evenly: the busiest have several times the average.
    return users[int(len(users) * random.random() ** 1.5)]


def _moment(epoch_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=epoch_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _uuid7(random: Random, epoch_ms: int) -> str:
    """Return a UUIDv7 (RFC 9562): the time in milliseconds, then random bits."""
    bits = random.getrandbits(74)
    time, low = divmod(epoch_ms, 1 << 16)
    version, variant = 0x7000 | bits >> 62, 0x8000 | bits >> 48 & 0x3FFF
    return f"{time:08x}-{low:04x}-{version:04x}-{variant:04x}-{bits & 0xFFFFFFFFFFFF:012x}"
