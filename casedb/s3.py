"""One S3 bucket in plain words; the only module that knows boto3.

Credentials come the usual AWS ways: environment, ~/.aws, profile, the machine's role. Checksums are
the caller's business: no compatible server can be trusted to keep or check ours. Parts carry their
MD5, which those servers do check on arrival.
"""

import base64
import hashlib
import io
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, BinaryIO, cast

import boto3
import botocore.exceptions
import botocore.session
from botocore.config import Config

from casedb.errors import ConfigurationError
from casedb.kept_parts import Fetch, KeptParts
from casedb.memory import give_back_from
from casedb.s3_model import Listing, Location, S3Error, Version
from casedb.s3_streams import PART_BYTES, STREAMS, Download, Upload

REQUEST_ATTEMPTS = 8
"""Of each request, with growing pauses: half a minute until a server counts as gone."""
_ATTEMPTS = 5
_PAUSE_S = 1.0


class Bucket:
    """What a store needs of a bucket. Every method raises S3Error and nothing else.

    But for ConfigurationError, where AWS' own files make no sense: then none of them works.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.in_doubt: set[str] = set()
        """Keys of what may still come: not every request that makes it was answered."""
        self._made: Any = None

    @property
    def _client(self) -> Any:
        # Made when first used: reading settings must not ask AWS for anything.
        if self._made is None:
            # Otherwise glibc keeps up to 60 MB of parts.
            give_back_from(PART_BYTES // 2)
            with _errors(), _configured():
                session = boto3.session.Session(
                    profile_name=self.location.profile,
                    region_name=self.location.region,
                    botocore_session=_session(),
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

    def objects(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, size in bytes) of the present objects below `prefix`, by key in UTF-8."""
        with _errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.location.bucket, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    yield str(found["Key"]), int(found["Size"])

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
        self.in_doubt.add(key)
        with _errors():
            done = self._client.put_object(
                Bucket=self.location.bucket,
                Key=key,
                Body=data,
                ContentMD5=_md5(data),
                **self._words(locked=locked),
                **words,
            )
        self._answered(key, done)
        return str(done.get("VersionId") or "null")

    def create(self, key: str, data: bytes, *, locked: bool = False) -> str:
        """Write a small object where none is, and return its version's id.

        `data` has to be nobody else's: when an answer is lost, the request is made again and finds
        what it wrote itself, which is no conflict.
        """
        try:
            return self.put(key, data, if_absent=True, locked=locked)
        except S3Error as error:
            if not error.is_taken:
                raise
            versions = (v for v in self.listing(key).versions if v.key == key and not v.is_marker)
            first = next(versions, None)
            if first is None or not self.is_content(first, data):
                raise
            return first.version_id

    def is_content(self, version: Version, data: bytes) -> bool:
        """Whether a version is just `data`; told by its ETag if possible: some may only list."""
        if version.etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        if version.size_bytes != len(data):
            return False
        with suppress(S3Error):
            return self.part(version.key, version.version_id, 0, len(data)) == data
        return False

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

    def lifecycle_days(self) -> tuple[int | None, int | None]:
        """Return after how many days the bucket forgets deleted versions, and deletes present ones.

        Each None if it never does.
        """
        try:
            with _errors():
                rules = self._client.get_bucket_lifecycle_configuration(
                    Bucket=self.location.bucket
                )["Rules"]
        except S3Error as error:
            if error.code == "NoSuchLifecycleConfiguration":
                return None, None
            raise
        enabled = [rule for rule in rules if rule.get("Status") == "Enabled"]
        forgets = [
            rule["NoncurrentVersionExpiration"].get("NoncurrentDays", 0)
            for rule in enabled
            if "NoncurrentVersionExpiration" in rule
        ]
        # An Expiration can also name a date, or markers of deletion alone.
        expires = [
            rule["Expiration"]["Days"] for rule in enabled if "Days" in rule.get("Expiration", {})
        ]
        return min(forgets, default=None), min(expires, default=None)

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
    def reading(self, version: Version, *, kept: KeptParts | None = None) -> Iterator[BinaryIO]:
        """Read one version from its beginning to its end, some parts ahead; in `kept` they stay."""
        fetch: Fetch = partial(self.part, version.key, version.version_id)
        if kept:
            # A bucket without versions may have another object of that name by now.
            fetch = kept.fetching(f"{self.location.url} {version}", fetch)
        with (
            ThreadPoolExecutor(STREAMS) as pool,
            Download(pool, fetch, version.size_bytes) as raw,
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
        """Return a part of one version; one that breaks off half-way is asked for again.

        After growing pauses: half a minute until the server counts as gone.
        """
        wanted = f"bytes={first}-{first + size_bytes - 1}"
        error = S3Error("IncompleteRead", f"{key} has no {wanted}")
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_S * 2**attempt)
            # A request without an answer has been made again by boto3 as often as makes sense.
            with _errors():
                response = self._client.get_object(
                    Bucket=self.location.bucket, Key=key, Range=wanted, **_pinned(version_id)
                )
            try:
                with _errors():
                    data = bytes(response["Body"].read())
            except S3Error as found:
                error = found
                continue
            if len(data) == size_bytes:
                return data
        raise error

    def begin_upload(self, key: str, *, locked: bool) -> str:
        """Begin a multipart upload and return its id."""
        with _errors():
            begun = self._client.create_multipart_upload(
                Bucket=self.location.bucket, Key=key, **self._words(locked=locked)
            )
        return str(begun["UploadId"])

    def send_part(
        self, key: str, upload_id: str, number: int, data: bytes | bytearray
    ) -> Mapping[str, Any]:
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
        self.in_doubt.add(key)
        with _errors():
            done = self._client.complete_multipart_upload(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
            )
        self._answered(key, done)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload and what was sent of it."""
        with _errors():
            self._client.abort_multipart_upload(
                Bucket=self.location.bucket, Key=key, UploadId=upload_id
            )

    def _answered(self, key: str, answer: Mapping[str, Any]) -> None:
        # Of several tries an earlier one may still be on its way.
        if not answer["ResponseMetadata"].get("RetryAttempts"):
            self.in_doubt.discard(key)

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


def _version(entry: Mapping[str, Any], *, is_marker: bool) -> Version:
    return Version(
        key=entry["Key"],
        version_id=entry.get("VersionId") or "null",
        size_bytes=entry.get("Size", 0),
        modified=entry["LastModified"],
        is_marker=is_marker,
        etag=entry.get("ETag", "").strip('"'),
    )


def _pinned(version_id: str) -> dict[str, str]:
    # "null" is what a bucket without versions calls its only one; not every server takes it back.
    return {} if version_id == "null" else {"VersionId": version_id}


def _md5(data: bytes | bytearray) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@cache
def _loader() -> Any:
    # The descriptions of AWS's services are megabytes of JSON: read once, not once a client.
    return botocore.session.get_session().get_component("data_loader")


def _session() -> Any:
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return session


@contextmanager
def _configured() -> Iterator[None]:
    try:
        yield
    except (
        botocore.exceptions.ProfileNotFound,
        botocore.exceptions.ConfigParseError,
        botocore.exceptions.InvalidConfigError,
        # So botocore calls an endpoint that is no address.
        ValueError,
    ) as error:
        raise ConfigurationError(
            "the configuration of AWS cannot be used",
            detail=f"{' '.join(str(error).split()).rstrip('.')}.",
            hint="The profile is what profile= in the address names, or else AWS_PROFILE. It has "
            "to be in ~/.aws/config or ~/.aws/credentials of the account that runs casedb. An "
            "endpoint begins with https:// or http://.",
        ) from error


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
