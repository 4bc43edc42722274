"""What a store is called: the same wherever it is named, and never what another one is called."""

import pytest

from backups.stores import name_of
from casedb.errors import ConfigurationError
from casedb.s3_model import parse_location

ELSEWHERE = "endpoint=http://127.0.0.1:5612"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/x", "s3://b/x"),
        ("s3://b/x/?lock_days=30&sse=aws:kms&sse_key=k&storage_class=STANDARD_IA", "s3://b/x"),
        # Who asks, and how it is signed, is another matter on each host of the same store.
        ("s3://b/x?profile=pruner&region=us-east-1", "s3://b/x"),
        (f"s3://b/x?{ELSEWHERE}", f"s3://b/x?{ELSEWHERE}"),
        (f"s3://b/x?region=a&{ELSEWHERE}/&lock_days=30", f"s3://b/x?{ELSEWHERE}"),
        ("s3://b?endpoint=http%3A%2F%2Fdb%3A1", "s3://b?endpoint=http://db:1"),
    ],
)
def test_the_name_of_a_bucket_says_where_it_is_and_nothing_else(url: str, name: str) -> None:
    assert parse_location(url).url == name
    assert name_of(url) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/srv/back?ups", "/srv/back?ups"),
        ("file:///srv/backups", "file:///srv/backups"),
        ("s3://b/x?unknown=1", "s3://b/x"),
        ("s3://[b/x?unknown=1", "s3://[b/x"),
        ("s3://access:hush@b/x", "s3://access:********@b/x"),
    ],
)
def test_what_is_no_bucket_or_cannot_be_opened_has_a_name_too(url: str, name: str) -> None:
    assert name_of(url) == name


def test_an_endpoint_with_credentials_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="credentials in it"):
        parse_location("s3://b/x?endpoint=https://access:hush@db1")
