"""What there is to say of a bucket without asking it: its address, versions, errors."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from casedb.errors import ConfigurationError

_OPTIONS = {
    "endpoint": "address of a compatible server",
    "region": "AWS region",
    "profile": "section of ~/.aws/config",
    "storage_class": "such as STANDARD_IA; one that can be read at once",
    "sse": "AES256 or aws:kms",
    "sse_key": "the KMS key's id",
    "lock_days": "days that nobody can delete an object of a backup",
    "lock_mode": "COMPLIANCE or GOVERNANCE",
}
_ENDPOINT = "?endpoint="
_READ_AFTER_HOURS = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes of AWS whose objects have to be brought back before they can be read."""


@dataclass(frozen=True)
class Location:
    """Where a bucket is and how objects are put into it."""

    bucket: str
    prefix: str
    """Empty, or with a slash at its end."""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    storage_class: str | None = None
    sse: str | None = None
    sse_key: str | None = None
    lock_days: int = 0
    lock_mode: str = "COMPLIANCE"

    @property
    def url(self) -> str:
        """What it is called: its address, and its endpoint if it has one.

        Of two servers both may have a bucket of that name. Not the profile or the region, which on
        another host may be others for the same store, nor what says how objects are put there.
        """
        address = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return f"{address}{_ENDPOINT}{self.endpoint.rstrip('/')}" if self.endpoint else address


def without_endpoint(url: str) -> str:
    """Return what a location of that `Location.url` was called before, and is with AWS.

    >>> without_endpoint("s3://bucket/prefix?endpoint=https://s3.example.com")
    's3://bucket/prefix'
    """
    return url.partition(_ENDPOINT)[0]


@dataclass(frozen=True)
class Version:
    """One version of one object, or the marker that a delete left."""

    key: str
    version_id: str
    size_bytes: int
    modified: datetime
    is_marker: bool
    etag: str = ""
    """The MD5 in hexadecimal digits, of what was put at once and without a KMS key."""


@dataclass(frozen=True)
class Listing:
    """What lies below a prefix, and the server's own time when it said so."""

    versions: tuple[Version, ...]
    server_time: datetime

    def below(self, prefix: str) -> "Listing":
        """Return the part of it that lies below the longer `prefix`."""
        versions = tuple(v for v in self.versions if v.key.startswith(prefix))
        return Listing(versions, self.server_time)


class S3Error(Exception):
    """The server refused or could not be asked; `code` is S3's own word, or the exception's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code

    @property
    def is_missing(self) -> bool:
        """Whether there is no such object."""
        return self.code in ("NoSuchKey", "NoSuchVersion", "404", "NotFound")

    @property
    def is_denied(self) -> bool:
        """Whether the credentials do not allow it, or an object lock forbids it."""
        return self.code in ("AccessDenied", "403", "Forbidden")

    @property
    def is_taken(self) -> bool:
        """Whether there was an object already where none should have been."""
        return self.code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def parse_location(url: str) -> Location:
    """Return the location that `url` names: s3://BUCKET/PREFIX?endpoint=...&lock_days=30.

    Raises:
        ConfigurationError: no bucket, an unknown option, a secret in the address, or a storage
            class that cannot be read at once.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if parts.username or parts.password or "@" in options.get("endpoint", ""):
        raise ConfigurationError(
            "the store's address has credentials in it",
            detail="Addresses are shown, logged and kept in the history of shells.",
            hint="Put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.",
        )
    unknown = sorted(options.keys() - _OPTIONS.keys())
    if unknown or not parts.netloc:
        raise ConfigurationError(
            "the store's address cannot be used",
            detail=f'It has an unknown option "{unknown[0]}".'
            if unknown
            else "It names no bucket.",
            hint="Write s3://BUCKET/PREFIX; options after a ? are "
            + ", ".join(f"{name} ({what})" for name, what in _OPTIONS.items())
            + ".",
        )
    if "lock_days" in options:
        if not str(options["lock_days"]).isdigit():
            raise ConfigurationError("lock_days in the store's address is not a number of days")
        options["lock_days"] = int(options["lock_days"])
    if options.get("storage_class") in _READ_AFTER_HOURS:
        raise ConfigurationError(
            f"a store of storage class {options['storage_class']} cannot be read at once",
            detail="A dump reads back what it wrote, and manifests, locks and leases are read by "
            "every run; such objects come back after hours.",
            hint="Take GLACIER_IR, or let a lifecycle rule of the bucket move large, old objects "
            "there: whoever restores one of them has to bring it back first.",
        )
    prefix = unquote(parts.path).strip("/")
    return Location(parts.netloc, f"{prefix}/" if prefix else "", **options)
