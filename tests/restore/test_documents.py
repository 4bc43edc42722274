"""The documents that the database knows, and the objects that are in the bucket."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.documents import SHOWN, Trouble, check_documents, disagreements
from casedb.errors import ToolFailedError, UnverifiedError
from casedb.s3 import Bucket
from casedb.s3_model import parse_location
from casedb.seed import seed_demo
from tests.s3.servers import SERVERS, Server, s3_server

if TYPE_CHECKING:
    from tests.restore.conftest import Night


@pytest.fixture(scope="module", params=SERVERS)
def s3(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_server(request.param) as server:
        yield server


def record(database: Conninfo, documents: dict[str, int]) -> None:
    """Put rows into case_documents, as somebody of the application."""
    with connect(database, purpose="test") as connection, connection.transaction():
        row = connection.execute("SELECT c.id, c.created_by FROM cases AS c LIMIT 1").fetchone()
        assert row
        connection.execute("SELECT set_config('app.user_id', %s, true)", (str(row[1]),))
        for key, size in documents.items():
            connection.execute(
                "INSERT INTO case_documents (case_id, filename, s3_key, mime_type, file_size,"
                " uploaded_by) VALUES (%s, 'file', %s, 'text/plain', %s, %s)",
                (row[0], key, size, row[1]),
            )


def bucket_with(s3: Server, objects: dict[str, int]) -> Bucket:
    name = s3.new_bucket()
    for key, size in objects.items():
        s3.client().put_object(Bucket=name, Key=key, Body=b"x" * size)
    return Bucket(parse_location(f"s3://{name}/files?endpoint={s3.endpoint}&region=us-east-1"))


@pytest.mark.usefixtures("as_pruner")
def test_missing_orphaned_and_resized_documents_are_named(database: Conninfo, s3: Server) -> None:
    seed_demo(database.replace(user="case_seed"))
    record(database, {"files/ä": 3, "files/a": 1, "files/Z": 2, "files/gone": 4, "files/grown": 5})
    bucket = bucket_with(
        s3,
        {"files/ä": 3, "files/a": 1, "files/Z": 2, "files/grown": 6, "files/new": 7, "other/x": 1},
    )

    with connect(database.replace(user="case_readonly"), purpose="test") as connection:
        report = check_documents(connection, bucket)

    assert (report.documents, report.objects) == (5, 5)
    assert {(d.trouble, d.key, d.recorded_bytes, d.found_bytes) for d in report.shown} == {
        (Trouble.MISSING, "files/gone", 4, None),
        (Trouble.SIZE_DIFFERS, "files/grown", 5, 6),
        (Trouble.ORPHANED, "files/new", None, 7),
    }
    assert not report.agrees


@pytest.mark.usefixtures("as_pruner")
def test_documents_that_agree_agree(database: Conninfo, s3: Server) -> None:
    seed_demo(database.replace(user="case_seed"))
    record(database, {"files/a": 1})

    with connect(database.replace(user="case_readonly"), purpose="test") as connection:
        assert check_documents(connection, bucket_with(s3, {"files/a": 1})).agrees


@pytest.mark.usefixtures("as_pruner")
def test_a_role_that_does_not_see_all_rows_gets_an_error_and_no_false_orphans(
    database: Conninfo, s3: Server
) -> None:
    with (
        pytest.raises(ToolFailedError),
        connect(database.replace(user="case_app"), purpose="test") as connection,
    ):
        check_documents(connection, bucket_with(s3, {"files/a": 1}))


@pytest.mark.usefixtures("as_pruner")
def test_a_bucket_that_cannot_be_listed_proves_nothing(database: Conninfo, s3: Server) -> None:
    url = f"s3://there-is-no-such-bucket/files?endpoint={s3.endpoint}&region=us-east-1"

    with (
        connect(database.replace(user="case_readonly"), purpose="test") as connection,
        pytest.raises(UnverifiedError, match="cannot be listed"),
    ):
        check_documents(connection, Bucket(parse_location(url)))


def test_all_are_counted_however_many_there_are() -> None:
    many = [(f"{n:06}", 1) for n in range(SHOWN + 5)]

    assert sum(1 for _ in disagreements(many, [])) == SHOWN + 5


def test_the_command_says_it_with_exit_code_9(
    night: "Night", s3: Server, monkeypatch: pytest.MonkeyPatch, as_pruner: None
) -> None:
    from click.testing import CliRunner

    from casedb.cli.documents import documents

    record(night.live, {"files/gone": 4})
    url = bucket_with(s3, {}).location
    conninfo = night.admin.replace(dbname=None, user=None).dsn
    result = CliRunner().invoke(
        documents,
        [
            *("check", "--json", "--database", night.name, "--conninfo", conninfo),
            *("--bucket", f"s3://{url.bucket}/files?endpoint={s3.endpoint}&region=us-east-1"),
        ],
        standalone_mode=False,
    )

    assert result.return_value == 9
    assert json.loads(result.stdout)["missing"] == 1
