"""A restore that is killed in its download from a bucket goes on with what it has."""

from itertools import count
from pathlib import Path
from secrets import token_hex

import pytest
from psycopg import sql

from backups.manifest import DUMP
from casedb.database import connect
from casedb.s3_streams import PART_BYTES
from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import DATABASE, wait
from tests.matrix.table import leave_row

pytestmark = pytest.mark.real_s3


@pytest.fixture
def site(bucketful: Bucketful) -> Bucketful:
    return bucketful


@pytest.mark.parametrize("part", [(), ("--table", "cases"), ("--schema-only",)], ids=" ".join)
def test_a_restore_killed_in_its_download_goes_on_where_it_was(
    site: Bucketful, request: pytest.FixtureRequest, tmp_path: Path, part: tuple[str, ...]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    copy = f"copy_{token_hex(3)}"
    conninfo = site.server.admin.replace(dbname=None).dsn
    words = [site.first, "--into", copy, "--scratch", str(scratch), "--conninfo", conninfo, *part]
    came = count()

    def all_but_one(method: str, path: str) -> bool:
        if method != "GET" or "database.dump" not in path or "versionId=" not in path:
            return False
        return next(came) > 0

    # The last one is shorter, and may be the one that comes first.
    sizes = {PART_BYTES, site.opened().files(DATABASE, site.first)[DUMP] % PART_BYTES}

    def kept() -> list[Path]:
        found = scratch.glob("casedb-download-*/*/*-*")
        return [path for path in found if path.stat().st_size in sizes]

    def downloaded(run: str) -> list[str]:
        found = [one for one in site.wall.seen if "database.dump" in one.path and one.span]
        return [one.span for one in found if one.status == 206 and f"app/{run}" in one.agent]

    site.wall.hold = all_but_one
    process = site.start("nowhere", "restore", *words, AWS_SDK_UA_APP_ID="killed")
    site.wait_for(lambda: site.wall.held.is_set() and kept(), "no part was ever kept")
    (first,) = downloaded("killed")
    process.kill()
    wait(process)
    site.wall.drop = True
    site.let_pass()
    site.wait_for_gone("casedb restore")
    assert len(kept()) == 1

    # What the killed run had asked for may still pass; nobody waits for it.
    code, said = site.run("restore", *words, AWS_SDK_UA_APP_ID="again")

    assert code == 0, said
    assert "of the download were there from an earlier run" in said
    others = downloaded("again")
    assert others
    assert len({first, *others}) == 1 + len(others)
    assert list(scratch.iterdir()) == []
    with connect(site.server.admin, purpose="test") as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(copy)))
    proof = f"the proxy passed 1 of {1 + len(others)} parts"
    row = ("download", "SIGKILL", proof, "killed, 1 part kept, no database")
    verb = " ".join(["restore", *part, "from S3"])
    again = "exit 0, the other parts downloaded, equal"
    leave_row(request, verb, *row, again)
