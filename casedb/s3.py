"""One S3 bucket in plain words; the only module that knows boto3.

Credentials come the usual AWS ways: environment, ~/.aws, profile, the machine's role. Checksums are
the caller's business: no compatible server can be trusted to keep or check ours. Parts carry their
MD5, which those servers do check on arrival.
"""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
import botocore.exceptions
from botocore.config import Config

from casedb.errors import ConfigurationError

PART_BYTES = 8 << 20
"""Of an upload or download; parts grow with the object, because there may be 10,000 of them."""
STREAMS = 4
"""Parts in flight at once: what a stream takes of memory is this many, and two more."""
_PARTS_BEFORE_GROWTH = 1000
REQUEST_ATTEMPTS = 8
"""Of each request, with growing pauses: half a minute until a server counts as gone."""
_ATTEMPTS = 5

_OPTIONS = {
    "endpoint": "address of a compatible server",
    "region": "AWS region",
    "profile": "section of ~/.aws/config",
    "storage_class": "such as STANDARD_IA",
    "sse": "AES256 or aws:kms",
    "sse_key": "the KMS key's id",
    "lock_days": "days that nobody can delete an object of a backup",
    "lock_mode": "COMPLIANCE or GOVERNANCE",
}


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
        """The address without its options."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class Version:
    """One version of one object, or the marker that a delete left."""

    key: str
    version_id: str
    size_bytes: int
    modified: datetime
    is_marker: bool


@dataclass(frozen=True)
class Listing:
    """What lies below a prefix, and the server's own time when it said so."""

    versions: tuple[Version, ...]
    server_time: datetime


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
        ConfigurationError: no bucket, an unknown option, or a secret in the address.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigurationError(
            "the store's address has credentials in it",
            detail="Addresses are shown, logged and kept in the history of shells.",
            hint="Put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.",
        )
    options: dict[str, Any] = dict(parse_qsl(parts.query))
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
    prefix = unquote(parts.path).strip("/")
    return Location(parts.netloc, f"{prefix}/" if prefix else "", **options)


class Bucket:
    """What a store needs of a bucket. Every method raises S3Error and nothing else."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._made: Any = None

    @property
    def _client(self) -> Any:
        # Made when first used: reading settings must not ask AWS for anything.
        if self._made is None:
            with _errors():
                session = boto3.session.Session(
                    profile_name=self.location.profile, region_name=self.location.region
                )
                self._made = session.client(
                    "s3",
                    endpoint_url=self.location.endpoint,
                    region_name=session.region_name or "us-east-1",
                    config=Config(
                        signature_version="s3v4",
                        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
                        connect_timeout=10,
                        read_timeout=60,
                        max_pool_connections=4 * STREAMS,
                        s3={"addressing_style": "path" if self.location.endpoint else "auto"},
                        # Compatible servers ignore or refuse boto3's newer trailing checksums.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
        return self._made

    def listing(self, prefix: str) -> Listing:
        """Return every version of everything below `prefix`, oldest first for each key."""
        found: list[Version] = []
        words: dict[str, str] = {}
        while True:
            with _errors():
                page = self._client.list_object_versions(
                    Bucket=self.location.bucket, Prefix=prefix, **words
                )
            for entry in page.get("Versions", []):
                found.append(_version(entry, is_marker=False))
            for entry in page.get("DeleteMarkers", []):
                found.append(_version(entry, is_marker=True))
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            if not page.get("IsTruncated"):
                break
            words = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }
        # The server lists newest first; of two in one second its order is what tells.
        found.reverse()
        return Listing(tuple(sorted(found, key=lambda v: (v.key, v.modified))), now)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the "folders" directly below `prefix`, deleted ones too."""
        with _errors():
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.location.bucket, Prefix=prefix, Delimiter="/"
            )
            found = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    def get(self, key: str) -> bytes:
        """Return a small object's newest content."""
        with _errors():
            response = self._client.get_object(Bucket=self.location.bucket, Key=key)
            return bytes(response["Body"].read())

    def put(self, key: str, data: bytes, *, if_absent: bool = False, locked: bool = False) -> str:
        """Write a small object and return its version's id; with `if_absent`, only where none is.

        Ceph ignores `if_absent` in a bucket with versions (seen with 18.2.7).
        """
        words = {"IfNoneMatch": "*"} if if_absent else {}
        with _errors():
            done = self._client.put_object(
                Bucket=self.location.bucket,
                Key=key,
                Body=data,
                ContentMD5=_md5(data),
                **self._words(locked=locked),
                **words,
            )
        return str(done.get("VersionId") or "null")

    def delete(self, key: str, version_id: str) -> None:
        """Delete one version, or one marker, for good."""
        with _errors():
            self._client.delete_object(Bucket=self.location.bucket, Key=key, VersionId=version_id)

    def retained_until(self, key: str, version_id: str) -> datetime | None:
        """Return until when the object lock keeps a version; None if it does not.

        A legal hold has no end that anybody knows, which is the end of time here.
        """
        with _errors():
            head = self._client.head_object(
                Bucket=self.location.bucket, Key=key, **_pinned(version_id)
            )
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return datetime.max.replace(tzinfo=UTC)
        until = head.get("ObjectLockRetainUntilDate")
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return until if isinstance(until, datetime) and until > now else None

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps what is overwritten or deleted."""
        with _errors():
            found = self._client.get_bucket_versioning(Bucket=self.location.bucket)
        return bool(found.get("Status") == "Enabled")

    def noncurrent_days(self) -> int | None:
        """Return after how many days the bucket forgets deleted versions; None if it never does."""
        try:
            with _errors():
                rules = self._client.get_bucket_lifecycle_configuration(
                    Bucket=self.location.bucket
                )["Rules"]
        except S3Error as error:
            if error.code == "NoSuchLifecycleConfiguration":
                return None
            raise
        days = [
            rule["NoncurrentVersionExpiration"].get("NoncurrentDays", 0)
            for rule in rules
            if rule.get("Status") == "Enabled" and "NoncurrentVersionExpiration" in rule
        ]
        return min(days, default=None)

    def abort_uploads(self, prefix: str) -> list[str]:
        """Abort the unfinished uploads below `prefix`, which cost money unseen; return the keys."""
        with _errors():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.location.bucket, Prefix=prefix
            )
            uploads = [u for page in pages for u in page.get("Uploads", [])]
            for upload in uploads:
                self._client.abort_multipart_upload(
                    Bucket=self.location.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        return [str(upload["Key"]) for upload in uploads]

    @contextmanager
    def reading(self, key: str, version_id: str, size_bytes: int) -> Iterator[BinaryIO]:
        """Read one version from its beginning to its end, some parts ahead."""
        with (
            ThreadPoolExecutor(STREAMS) as pool,
            _Download(self, pool, key, version_id, size_bytes) as raw,
            io.BufferedReader(raw, 1 << 20) as file,
        ):
            yield cast("BinaryIO", file)

    @contextmanager
    def writing(self, key: str, *, locked: bool) -> Iterator["Upload"]:
        """Write one object of unknown size; it is there when the block ends, and not when it fails.

        Neither is it after a kill: what was sent of it is an unfinished upload, see abort_uploads.
        """
        with ThreadPoolExecutor(STREAMS) as pool:
            upload = Upload(self, pool, key, locked=locked)
            try:
                yield upload
                upload.finish()
            except BaseException:
                upload.abort()
                raise

    def part(self, key: str, version_id: str, first: int, size_bytes: int) -> bytes:
        """Return a part of one version; a connection that breaks half-way is tried again."""
        wanted = f"bytes={first}-{first + size_bytes - 1}"
        error = S3Error("IncompleteRead", f"{key} has no {wanted}")
        for _ in range(_ATTEMPTS):
            try:
                with _errors():
                    response = self._client.get_object(
                        Bucket=self.location.bucket, Key=key, Range=wanted, **_pinned(version_id)
                    )
                    data = bytes(response["Body"].read())
                if len(data) == size_bytes:
                    return data
            except S3Error as found:
                if found.is_missing or found.is_denied:
                    raise
                error = found
        raise error

    def begin_upload(self, key: str, *, locked: bool) -> str:
        """Begin a multipart upload and return its id."""
        with _errors():
            begun = self._client.create_multipart_upload(
                Bucket=self.location.bucket, Key=key, **self._words(locked=locked)
            )
        return str(begun["UploadId"])

    def send_part(self, key: str, upload_id: str, number: int, data: bytes) -> Mapping[str, Any]:
        """Send one part; return what `end_upload` has to name."""
        with _errors():
            sent = self._client.upload_part(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=data,
                ContentMD5=_md5(data),
            )
        return {"PartNumber": number, "ETag": sent["ETag"]}

    def end_upload(self, key: str, upload_id: str, parts: list[Mapping[str, Any]]) -> None:
        """Make the parts one object."""
        with _errors():
            self._client.complete_multipart_upload(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
            )

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload and what was sent of it."""
        with _errors():
            self._client.abort_multipart_upload(
                Bucket=self.location.bucket, Key=key, UploadId=upload_id
            )

    def _words(self, *, locked: bool) -> dict[str, Any]:
        place = self.location
        words: dict[str, Any] = {
            "StorageClass": place.storage_class,
            "ServerSideEncryption": place.sse,
            "SSEKMSKeyId": place.sse_key,
        }
        if locked and place.lock_days:
            words["ObjectLockMode"] = place.lock_mode
            words["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=place.lock_days)
        return {name: value for name, value in words.items() if value is not None}


class Upload:
    """A file to write to; sends parts while it is written to, with bounded memory."""

    def __init__(self, bucket: Bucket, pool: ThreadPoolExecutor, key: str, *, locked: bool) -> None:
        self._bucket, self._pool, self._key, self._locked = bucket, pool, key, locked
        self._buffer = bytearray()
        self._part_bytes = PART_BYTES
        self._id: str | None = None
        self._number = 0
        self._in_flight: list[Future[Mapping[str, Any]]] = []
        self._sent: list[Mapping[str, Any]] = []

    def write(self, data: bytes) -> int:
        """Write `data`, all of it."""
        self._buffer += data
        while len(self._buffer) >= self._part_bytes:
            part = bytes(self._buffer[: self._part_bytes])
            del self._buffer[: self._part_bytes]
            self._send(part)
        return len(data)

    def finish(self) -> None:
        """Send the rest and make it one object."""
        if self._id is None:
            self._bucket.put(self._key, bytes(self._buffer), locked=self._locked)
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        while self._in_flight:
            self._sent.append(self._in_flight.pop(0).result())
        self._bucket.end_upload(self._key, self._id, self._sent)

    def abort(self) -> None:
        """Leave nothing of it, as far as the server can be reached."""
        for future in self._in_flight:
            future.cancel()
        for future in self._in_flight:
            with suppress(BaseException):
                future.result()
        if self._id is not None:
            with suppress(S3Error):
                self._bucket.abort_upload(self._key, self._id)

    def _send(self, part: bytes) -> None:
        if self._id is None:
            self._id = self._bucket.begin_upload(self._key, locked=self._locked)
        if len(self._in_flight) >= STREAMS:
            self._sent.append(self._in_flight.pop(0).result())
        self._number += 1
        if self._number % _PARTS_BEFORE_GROWTH == 0:
            self._part_bytes *= 2
        self._in_flight.append(
            self._pool.submit(self._bucket.send_part, self._key, self._id, self._number, part)
        )


class _Download(io.RawIOBase):
    def __init__(
        self, bucket: Bucket, pool: ThreadPoolExecutor, key: str, version_id: str, size_bytes: int
    ) -> None:
        self._bucket, self._pool, self._key = bucket, pool, key
        self._version_id = version_id
        self._size = size_bytes
        self._asked = 0
        self._ahead: list[Future[bytes]] = []
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part:
            self._ask()
            if not self._ahead:
                return 0
            self._part = memoryview(self._ahead.pop(0).result())
            self._ask()
        count = min(len(buffer), len(self._part))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        return count

    def close(self) -> None:
        for future in self._ahead:
            future.cancel()
        super().close()

    def _ask(self) -> None:
        while self._asked < self._size and len(self._ahead) < STREAMS:
            count = min(PART_BYTES, self._size - self._asked)
            self._ahead.append(
                self._pool.submit(
                    self._bucket.part, self._key, self._version_id, self._asked, count
                )
            )
            self._asked += count


def _version(entry: Mapping[str, Any], *, is_marker: bool) -> Version:
    return Version(
        key=entry["Key"],
        version_id=entry.get("VersionId") or "null",
        size_bytes=entry.get("Size", 0),
        modified=entry["LastModified"],
        is_marker=is_marker,
    )


def _pinned(version_id: str) -> dict[str, str]:
    # "null" is what a bucket without versions calls its only one; not every server takes it back.
    return {} if version_id == "null" else {"VersionId": version_id}


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.ClientError as error:
        found = error.response.get("Error", {})
        raise S3Error(str(found.get("Code", "?")), str(found.get("Message") or error)) from error
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
        raise S3Error(type(error).__name__, " ".join(str(error).split())) from error
    except OSError as error:
        # What urllib3 lets through while a body is read.
        raise S3Error(type(error).__name__, " ".join(str(error).split())) from error
