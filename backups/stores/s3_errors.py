"""What S3 answers, in the words of a store."""

from collections.abc import Iterator
from contextlib import contextmanager

from backups.stores.base import ReadingDeniedError
from casedb.errors import ConfigurationError, ToolFailedError, UnverifiedError
from casedb.s3_model import Location, S3Error


@contextmanager
def reading(location: Location, *, is_listed: bool = False) -> Iterator[None]:
    """Tell "could not read" from "is damaged": only the second is the backup's fault.

    `is_listed` is whether these credentials have listed what is read: then a refusal is about
    reading alone. Otherwise S3 also refuses who has the wrong ones, and what is not there.
    """
    try:
        yield
    except S3Error as error:
        if error.is_missing and error.code in ("NoSuchKey", "NoSuchVersion"):
            raise UnverifiedError(
                "an object went away while it was read", detail=f"{error}."
            ) from error
        if error.code == "NoSuchBucket":
            raise _no_bucket(location) from error
        kind = ReadingDeniedError if is_listed and error.is_denied else UnverifiedError
        raise kind(
            f"the store cannot be read at {location.url}",
            detail=f"{error}.",
            hint="Whether the backups are whole is unknown until it can be read; check the "
            "network and the credentials.",
        ) from error


@contextmanager
def writing(location: Location) -> Iterator[None]:
    """Say that the store cannot be written; what was begun does not count."""
    try:
        yield
    except S3Error as error:
        if error.code == "NoSuchBucket":
            raise _no_bucket(location) from error
        raise ToolFailedError(
            f"the store cannot be written at {location.url}",
            detail=f"{error}.",
            hint="Check the network and the credentials; what was begun does not count.",
        ) from error


@contextmanager
def deleting(location: Location, label: str) -> Iterator[None]:
    """Say that a backup stays because of missing rights: no object lock keeps it."""
    with writing(location):
        try:
            yield
        except S3Error as error:
            if not error.is_denied:
                raise
            raise ToolFailedError(
                f'backup "{label}" may not be deleted with these credentials',
                detail=f"{error}; no object lock and no legal hold on it is seen.",
                hint="Rotate with the pruner's credentials: s3:DeleteObjectVersion, and "
                "s3:GetObjectRetention to see locks.",
            ) from error


def _no_bucket(location: Location) -> ConfigurationError:
    return ConfigurationError(
        f"there is no bucket {location.bucket}",
        detail=f"Asked {location.endpoint or 'AWS'}.",
        hint="Make it first, with versioning and, against ransomware, object lock.",
    )
