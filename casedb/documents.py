"""Do the cases' documents in the database and the objects in the bucket agree?

After a restore they may not: the bucket was not restored. What was uploaded since the backup has an
object and no row; what was deleted since has a row and no object.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection

from casedb.database import scalar
from casedb.errors import ConfigurationError, UnverifiedError
from casedb.s3 import Bucket
from casedb.s3_model import S3Error
from casedb.sqlfiles import read_sql

SHOWN = 1000
"""So many of each kind are named in a report; all are counted."""
_FETCHED = 5000

Item = tuple[str, int]
"""A key, and a size in bytes."""


class Trouble(StrEnum):
    """How a document and its object can disagree."""

    MISSING = "missing"
    """The database knows it, and there is no object."""
    ORPHANED = "orphaned"
    """There is an object, and the database does not know it."""
    SIZE_DIFFERS = "size differs"


@dataclass(frozen=True)
class Disagreement:
    """One document or object."""

    trouble: Trouble
    key: str
    recorded_bytes: int | None
    found_bytes: int | None


@dataclass(frozen=True)
class DocumentsReport:
    """What was compared, and what was found."""

    bucket: str
    documents: int
    objects: int
    missing: int
    orphaned: int
    size_differs: int
    shown: tuple[Disagreement, ...]
    """The first SHOWN of each kind, by key."""

    @property
    def agrees(self) -> bool:
        """Whether every document has its object, and every object its document."""
        return not (self.missing or self.orphaned or self.size_differs)


def check_documents(connection: Connection[Any], bucket: Bucket) -> DocumentsReport:
    """Compare case_documents with the objects below the bucket's prefix; change nothing.

    Nothing is held in memory but what is shown. The connection's role must see all rows.

    Raises:
        ConfigurationError: there are no documents in this database.
        UnverifiedError: the bucket cannot be listed.
    """
    if scalar(connection, "SELECT to_regclass('public.case_documents')") is None:
        raise ConfigurationError(
            "this database has no documents to compare",
            hint="Apply the migrations first: `casedb migrate apply`.",
        )
    counts = dict.fromkeys(Trouble, 0)
    shown: list[Disagreement] = []
    recorded, objects = _Counted(_recorded(connection)), _Counted(_objects(bucket))
    with connection.transaction():
        # An error instead of documents that row security leaves out in silence.
        connection.execute("SET LOCAL row_security = off")
        for found in disagreements(recorded, objects):
            counts[found.trouble] += 1
            if counts[found.trouble] <= SHOWN:
                shown.append(found)
    return DocumentsReport(
        bucket=bucket.location.url,
        documents=recorded.count,
        objects=objects.count,
        missing=counts[Trouble.MISSING],
        orphaned=counts[Trouble.ORPHANED],
        size_differs=counts[Trouble.SIZE_DIFFERS],
        shown=tuple(shown),
    )


def disagreements(recorded: Iterable[Item], objects: Iterable[Item]) -> Iterator[Disagreement]:
    """Yield where two lists, both sorted by key, disagree.

    >>> [d.trouble.value for d in disagreements([("a", 1), ("b", 2)], [("b", 3), ("c", 4)])]
    ['missing', 'size differs', 'orphaned']
    """
    left, right = iter(recorded), iter(objects)
    row, item = next(left, None), next(right, None)
    while row or item:
        if row and (not item or row[0] < item[0]):
            yield Disagreement(Trouble.MISSING, row[0], row[1], None)
            row = next(left, None)
        elif item and (not row or item[0] < row[0]):
            yield Disagreement(Trouble.ORPHANED, item[0], None, item[1])
            item = next(right, None)
        elif row and item:
            if row[1] != item[1]:
                yield Disagreement(Trouble.SIZE_DIFFERS, row[0], row[1], item[1])
            row, item = next(left, None), next(right, None)


class _Counted:
    """Counts what is taken from it."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            self.count += 1
            yield item


def _recorded(connection: Connection[Any]) -> Iterator[Item]:
    with connection.cursor("documents") as cursor:
        cursor.itersize = _FETCHED
        yield from cursor.execute(read_sql("documents/recorded.sql"))


def _objects(bucket: Bucket) -> Iterator[Item]:
    try:
        yield from bucket.objects(bucket.location.prefix)
    except S3Error as error:
        raise UnverifiedError(
            f"the documents in {bucket.location.url} cannot be listed",
            detail=f"{error}.",
            hint="It needs s3:ListBucket, and credentials the usual AWS ways.",
        ) from error
