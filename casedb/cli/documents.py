"""`casedb documents`: do the database and the bucket of documents agree?"""

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_error, print_json, print_table, progress
from casedb.connections import Verb, target_for
from casedb.database import connect
from casedb.documents import DocumentsReport, check_documents
from casedb.errors import ConfigurationError, DifferenceError, ExitCode
from casedb.s3 import Bucket
from casedb.s3_model import parse_location
from casedb.settings import Settings


@click.group()
def documents() -> None:
    """Compare the cases' documents with their objects in S3.

    \b
    Example:
        casedb documents check
    """


@documents.command()
@click.option("--bucket", metavar="URL", help="The documents' bucket: s3://bucket/prefix.")
@json_option
@settings_options()
def check(settings: Settings, bucket: str | None, as_json: bool) -> int:
    """Find documents without object, and the reverse.

    Compares every row of case_documents with the objects below the prefix: missing, orphaned,
    another size. Changes nothing: after a restore, an orphan can be the only trace of a row. Exit
    code 9 when they disagree.

    \b
    Example:
        casedb documents check --bucket s3://case-documents
    """
    url = bucket or settings.values.documents
    if not url.startswith("s3://"):
        raise ConfigurationError(
            "the bucket of the documents is not known",
            detail=f'"{url}" is not an address of S3.' if url else None,
            hint='Name it with --bucket, or in casedb.toml: documents = "s3://case-documents".',
        )
    with (
        progress("documents") as tell,
        connect(target_for(settings, Verb.SHELL), purpose="documents") as connection,
    ):
        tell("comparing")
        report = check_documents(connection, Bucket(parse_location(url)))
    if as_json:
        print_json({"agrees": report.agrees, **vars(report)})
    else:
        _print(report)
    if report.agrees:
        return ExitCode.WELL
    print_error(
        DifferenceError(
            "the documents and their objects do not agree",
            detail=f"{report.missing} missing, {report.orphaned} orphaned, "
            f"{report.size_differs} of another size.",
            hint="Missing: an older version in the bucket, or in the kept database's time. "
            "Orphaned: look into the kept database before anything is deleted.",
        )
    )
    return ExitCode.DIFFERENT


def _print(report: DocumentsReport) -> None:
    if report.shown:
        rows = [(d.trouble, d.key, d.recorded_bytes, d.found_bytes) for d in report.shown]
        print_table(["", "key", "recorded bytes", "found bytes"], rows)
    click.echo(f"{report.documents} documents, {report.objects} objects in {report.bucket}")
