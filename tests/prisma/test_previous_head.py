"""While a release rolls out, the back end of before runs on the new schema: it must still work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casedb.migrations.contract import read_from_git
from casedb.migrations.files import read_folder
from casedb.prisma import generate
from casedb.sqlfiles import folder
from tests.prisma.conftest import BackEnd, Contract

_ROOT = Path(__file__).parents[2]

WORKING_DAY = """
  const data = { title: 'Made before', description: 'By the old client.', createdBy: clerk }
  const made = await asUser(app, clerk, (tx) => tx.case.create({ data }))
  await asUser(app, clerk, (tx) =>
    tx.case.update({ where: { id: made.id }, data: { status: 'PENDING_REVIEW' } }))
  const assigned = { status: 'ASSIGNED', assignedTo: caseworker } as const
  await asUser(app, chair, (tx) => tx.case.update({ where: { id: made.id }, data: assigned }))
  return await asUser(app, caseworker, async (tx) => ({
    users: (await tx.user.findMany()).length,
    cases: (await tx.case.findMany({ include: { documents: true } })).map((one) => one.status),
    actions: (await tx.case_Log.findMany({ where: { caseId: made.id }, orderBy: { seq: 'asc' } }))
      .map((log) => log.action),
  }))
"""


@pytest.fixture(scope="module")
def generated_from(
    contract: Contract, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Contract]:
    """A function that generates a client from another schema, beside the contract's own."""

    def generated(schema: str) -> Contract:
        place = tmp_path_factory.mktemp("previous") / "prisma"
        # A copy, because generating writes into node_modules.
        shutil.copytree(contract.place, place, symlinks=True)
        (place / "schema.prisma").write_text(schema)
        generate(place, contract.node)
        return Contract(place, contract.node)

    return generated


def test_the_client_of_the_previous_head_does_a_days_work_on_this_one(
    generated_from: Callable[[str], Contract], back_end: BackEnd
) -> None:
    ids = [file.id for file in read_folder(folder("migrations"))]
    previous = read_from_git(_ROOT, ids)
    if previous is None:
        pytest.skip("no git history here: the previous head's schema cannot be read")
    assert previous.prisma, f"no Prisma schema at {previous.origin}"
    of_before = generated_from(previous.prisma)

    found = BackEnd(of_before, back_end.admin, back_end.users)(WORKING_DAY)

    assert found == {
        "users": 3,
        "cases": ["ASSIGNED"],
        "actions": ["created", "status_changed", "assigned", "status_changed"],
    }


def test_a_client_that_knows_a_column_more_does_not_work(
    generated_from: Callable[[str], Contract], back_end: BackEnd
) -> None:
    schema = (folder("sql/prisma") / "schema.prisma").read_text()
    other = generated_from(schema.replace("model Case {", "model Case {\n  gone String?", 1))

    with pytest.raises(AssertionError, match="gone"):
        BackEnd(other, back_end.admin, back_end.users)(WORKING_DAY)
