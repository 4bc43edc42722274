"""Where backups are kept: `open_store` turns what a user wrote into a store."""

from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from backups.stores.base import NewSet, RecordKind, Store
from backups.stores.local import LocalStore
from casedb.conninfo import redact
from casedb.errors import ConfigurationError
from casedb.s3_model import parse_location

__all__ = ["LocalStore", "NewSet", "RecordKind", "Store", "name_of", "open_store"]


def open_store(url: str) -> Store:
    """Return the store at `url`: file:///path, a plain path, or s3://bucket/prefix.

    Raises:
        ConfigurationError: if there is no such kind of store.
    """
    if "://" not in url:
        return LocalStore(Path(url).expanduser().absolute())
    parts = urlsplit(url)
    if parts.scheme == "s3":
        # Only who uses it waits for boto3.
        from backups.stores.s3 import S3Store

        return S3Store(parse_location(url))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return LocalStore(Path(unquote(parts.path)))
    raise ConfigurationError(
        "the store's address cannot be used",
        detail=f'Its scheme is "{parts.scheme}".'
        if parts.scheme != "file"
        else "A file address has three slashes and an absolute path.",
        hint="Write it as file:///var/backups/casedb, as a plain path, or as s3://BUCKET/PREFIX.",
    )


def name_of(url: str) -> str:
    """Return what the store at `url` is called where it is not opened, or cannot be: no secrets.

    Of a bucket it is `Store.url`; a folder is called as the user wrote it.
    """
    if "://" not in url:
        return url
    with suppress(ConfigurationError, ValueError):
        if urlsplit(url).scheme == "s3":
            return parse_location(url).url
    return redact(url.partition("?")[0])
