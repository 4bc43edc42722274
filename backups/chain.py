"""The chain of manifests: each names its predecessor and its checksum.

The host that dumps keeps the head of the chain itself, so it needs no right to read the store, and
whoever changes or removes a backup in the store cannot change what the host remembers. What stays
open: whoever holds the store and the newest backup's host can forge both.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from backups.catalog import catalog
from backups.labels import folder_of
from backups.manifest import Link
from backups.sealing import Keys
from backups.stores.base import Store
from backups.stores.durable import sync_folder
from backups.tombstones import read_tombstones
from casedb.errors import ConfigurationError
from casedb.s3_model import without_endpoint


class State(StrEnum):
    """What became of one backup of the chain."""

    WHOLE = "whole"
    """There, and its successor says that this is its manifest."""
    UNATTESTED = "unattested"
    """There, and nobody says that it was another; so it is with the newest on another host."""
    EXPIRED = "expired"
    """Deleted on purpose; its tombstone fits the chain."""
    DOUBTFUL = "doubtful"
    """Deleted, and its tombstone fits, but not the key: somebody else has written it."""
    ELSEWHERE = "elsewhere"
    """Not there, and it was never put there: the store is newer, or failed that day. Of a store
    under an address that no link names, such as a copy, nobody can say that."""
    MISSING = "missing"
    ALTERED = "altered"


@dataclass(frozen=True)
class ChainEntry:
    """One backup of the chain."""

    label: str
    state: State

    @property
    def is_fault(self) -> bool:
        """Whether somebody has to look into it."""
        return self.state in (State.MISSING, State.ALTERED, State.DOUBTFUL)


def read_head(folder: Path, database: str, there: Collection[str] = ()) -> Link | None:
    """Return the newest backup this host took, as it remembers it; None if it took none.

    `there` are the labels in the store: a backup that was announced (`announce`) counts if it is
    among them, although its run was killed before it could say so.

    Raises:
        ConfigurationError: if what it remembers cannot be read.
    """
    pending = _read(_pending(folder, database))
    if pending and pending.label in there:
        return pending
    return _read(_path(folder, database))


def announce(folder: Path, database: str, head: Link) -> None:
    """Write down durably which backup is about to be committed; `settle` says what came of it.

    Before and not after: a run that is killed in between would leave a backup that no host and no
    successor knows of, so that nobody would miss it.
    """
    path = _pending(folder, database)
    new = path.with_suffix(f".{os.getpid()}")
    with _keeping(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(head.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_folder(folder)


def settle(folder: Path, database: str, there: Collection[str]) -> None:
    """Make what was announced the head if it is among the labels `there`; forget it if not.

    By what is listed, which a host that may only put can do as well: what it put there it knows
    itself, and whether it is still that is for `check_chain` to tell.
    """
    pending = _read(_pending(folder, database))
    if pending is None:
        return
    path = _pending(folder, database)
    with _keeping(path):
        if pending.label in there:
            path.rename(_path(folder, database))
        else:
            path.unlink()
        sync_folder(folder)


def check_chain(
    store: Store, database: str, head: Link | None, *, keys: Keys | None = None
) -> list[ChainEntry]:
    """Return every backup that is there or should be, newest first by label.

    With `keys`, a tombstone that was not written with one of them is doubtful.

    Raises:
        UnverifiedError: if the store cannot be read.
    """
    backups = catalog(store, database)
    there = {b.label: b.manifest_sha256 for b in backups if b.manifest}
    broken = [b.label for b in backups if not b.manifest]
    gone = read_tombstones(store, database)
    links = [b.manifest.previous for b in backups if b.manifest and b.manifest.previous]
    links += [t.previous for t in gone.values() if t.previous]
    return judge(
        there,
        broken,
        {label: t.manifest_sha256 for label, t in gone.items()},
        [*links, *([head] if head else [])],
        store.url,
        [label for label, t in gone.items() if keys and not t.is_vouched(keys)],
    )


def judge(
    there: Mapping[str, str],
    broken: Sequence[str],
    expired: Mapping[str, str],
    links: Sequence[Link],
    url: str,
    doubtful: Sequence[str] = (),
) -> list[ChainEntry]:
    """Decide what became of each: pure.

    `there` and `expired` are manifests' checksums by label, `broken` has sets whose manifest cannot
    be read, `links` is what successors say of their predecessors, and the host of the newest;
    `url` is where the store is: if no link names it, all should be there. `doubtful` are the
    expired for whose tombstone nobody vouches.
    """
    said: dict[str, set[str]] = {}
    for link in links:
        said.setdefault(link.label, set()).add(link.manifest_sha256)
    put_here = _put_into(url, links)
    expected_here = {
        link.label for link in links if not put_here or not link.stores or link.label in put_here
    }
    entries = []
    for label in sorted({*there, *broken, *expired, *said}, reverse=True):
        wanted = said.get(label)
        if label in broken:
            state = State.ALTERED
        elif found := there.get(label) or expired.get(label):
            if wanted is not None and wanted != {found}:
                state = State.ALTERED
            elif label not in there:
                state = State.DOUBTFUL if label in doubtful else State.EXPIRED
            else:
                state = State.WHOLE if wanted else State.UNATTESTED
        elif label in expired:
            # Its manifest could not be read any more when it was let go.
            state = State.DOUBTFUL if label in doubtful else State.EXPIRED
        else:
            state = State.MISSING if label in expected_here else State.ELSEWHERE
        entries.append(ChainEntry(label, state))
    return entries


def _put_into(url: str, links: Sequence[Link]) -> set[str]:
    """Return the labels of what was put into the store at `url`, whatever it was called then.

    It may have another endpoint since, or on another host, and had none in its name once. So the
    same bucket at another endpoint is another store only if one dump wrote to both. Where nobody
    can tell, it was put here: rather a false alarm than a backup that nobody misses.
    """
    address = without_endpoint(url)
    beside = [link for link in links if url in link.stores]
    others = {name for link in beside for name in link.stores} - {url}
    # From then on it is AWS's; before, it may have been what this one was called.
    address_is_another = min((li.label for li in beside if address in li.stores), default="")

    def is_here(name: str, link: Link) -> bool:
        if name not in others:
            return without_endpoint(name) == address
        both_by_former_name = link.stores.count(name) > 1
        return name == address and (link.label < address_is_another or both_by_former_name)

    return {link.label for link in links if any(is_here(name, link) for name in link.stores)}


def _read(path: Path) -> Link | None:
    try:
        return Link.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, f"{error.strerror or error}") from error
    except ValidationError as error:
        raise _unreadable(path, "it is not what casedb wrote there") from error


def _unreadable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "the head of the chain of backups cannot be read",
        detail=f"{path}: {why}.",
        hint="Move it away, and `casedb verify --chain` goes by what backups say of each other.",
    )


@contextmanager
def _keeping(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            "the head of the chain of backups cannot be kept",
            detail=f"{error.filename or path}: {error.strerror}.",
            hint="Make that folder writable, and dump again.",
        ) from error


def _pending(folder: Path, database: str) -> Path:
    return folder / f"{folder_of(database)}.pending"


def _path(folder: Path, database: str) -> Path:
    return folder / f"{folder_of(database)}.json"
