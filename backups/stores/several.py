"""Several stores at once: one dump is written to all of them, and each has a complete set.

A store that fails is left out from then on and the others go on; the dump fails only when none is
left. `failures` tells which, and why.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, TypeVar, cast

from backups.manifest import FileFacts
from backups.stores.base import NewSet, Store
from casedb.errors import CasedbError

_Member = TypeVar("_Member")


class SeveralStores:
    """What `dump` needs of a store, for several of them."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = list(stores)
        self.failures: dict[str, CasedbError] = {}
        """By the store's url."""

    @property
    def url(self) -> str:
        """All of them, for people."""
        return ", ".join(store.url for store in self._stores)

    @property
    def urls(self) -> tuple[str, ...]:
        """Those that have not failed."""
        return tuple(store.url for store in self._stores)

    def labels(self, database: str) -> list[str]:
        """Return the labels that any of them has."""
        found: set[str] = set()
        self._each(lambda store: found.update(store.labels(database)))
        return sorted(found)

    @contextmanager
    def lock(self, database: str) -> Iterator[None]:
        """Hold the lock of each."""
        with ExitStack() as stack:
            self._each(lambda store: stack.enter_context(store.lock(database)))
            yield

    def sweep(self, database: str) -> list[str]:
        """Sweep each."""
        left: list[str] = []
        self._each(lambda store: left.extend(store.sweep(database)))
        return left

    def check(self, action: Callable[[Store], None]) -> None:
        """Do `action` with each; whoever fails is left out."""
        self._each(action)

    @contextmanager
    def new_set(self, database: str, label: str) -> Iterator[NewSet]:
        """Begin the backup in each."""
        with ExitStack() as stack:
            members: list[tuple[Store, NewSet]] = []
            self._each(
                lambda store: members.append(
                    (store, stack.enter_context(store.new_set(database, label)))
                )
            )
            yield SeveralSets(self, members, label)

    def fail(self, store: Store, error: CasedbError) -> None:
        """Leave `store` out from now on; raise `error` if no other is left."""
        self.failures.setdefault(store.url, error)
        self._stores = [other for other in self._stores if other is not store]
        if not self._stores:
            raise error

    def _each(self, action: Callable[[Store], Any]) -> None:
        for store in list(self._stores):
            try:
                action(store)
            except CasedbError as error:
                self.fail(store, error)


class SeveralSets:
    """One backup being written in several places."""

    def __init__(
        self, stores: SeveralStores, members: list[tuple[Store, NewSet]], label: str
    ) -> None:
        self._stores = stores
        self._members = members
        self._label = label

    @property
    def label(self) -> str:
        """The label it will have, in all of them."""
        return self._label

    def check(self, action: Callable[[NewSet], None]) -> None:
        """Do `action` with each; whoever fails is left out."""
        for member in list(self._members):
            self._guarded(member, lambda new: new.check(action))

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open `name` for writing in each."""
        several = _SeveralFiles(self)
        for member in list(self._members):
            try:
                several.open(member, name)
            except CasedbError as error:
                self.drop(member, error)
        try:
            yield cast("BinaryIO", several)
        except BaseException as error:
            several.abandon(error)
            raise
        several.finish()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open the first one's file."""
        with self._members[0][1].open(name) as file:
            yield file

    def read_back(self, name: str) -> FileFacts | None:
        """Return what the first one has read."""
        return self._members[0][1].read_back(name)

    def commit(self) -> None:
        """Make each visible."""
        for member in list(self._members):
            self._guarded(member, lambda new: new.commit())

    def drop(self, member: tuple[Store, NewSet], error: CasedbError) -> None:
        """Leave one out from now on."""
        self._members = [other for other in self._members if other is not member]
        self._stores.fail(member[0], error)

    def _guarded(self, member: tuple[Store, NewSet], action: Callable[[NewSet], Any]) -> None:
        try:
            action(member[1])
        except CasedbError as error:
            self.drop(member, error)


class _SeveralFiles:
    def __init__(self, sets: SeveralSets) -> None:
        self._sets = sets
        self._open: list[tuple[tuple[Store, NewSet], Any, BinaryIO]] = []

    def open(self, member: tuple[Store, NewSet], name: str) -> None:
        context = member[1].create(name)
        self._open.append((member, context, context.__enter__()))

    def write(self, data: bytes) -> int:
        for entry in list(self._open):
            member, context, file = entry
            try:
                file.write(data)
            except Exception as error:
                self._open.remove(entry)
                self._sets.drop(member, self._close(context, error) or _unknown(error))
        return len(data)

    def finish(self) -> None:
        for member, context, _ in self._open:
            try:
                context.__exit__(None, None, None)
            except CasedbError as error:
                self._sets.drop(member, error)

    def abandon(self, error: BaseException) -> None:
        for _, context, _ in self._open:
            self._close(context, error)

    def _close(self, context: Any, error: BaseException) -> CasedbError | None:
        """Leave a file's block with `error`, as it does by itself; return it in our words."""
        try:
            context.__exit__(type(error), error, error.__traceback__)
        except CasedbError as found:
            return found
        except BaseException as found:
            if found is not error:
                raise
        return None


def _unknown(error: Exception) -> CasedbError:
    return error if isinstance(error, CasedbError) else CasedbError(f"a store failed: {error}")
