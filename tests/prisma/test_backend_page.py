"""docs/backend.md does what it says: every block is run, every printed value is compared."""

import re
from pathlib import Path

from casedb.conninfo import Conninfo
from tests.prisma.conftest import BackEnd, Contract

PAGE = (Path(__file__).parents[2] / "docs" / "backend.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
PROGRAM = "\n".join(text for language, text in BLOCKS if language == "ts")


def database_url(target: Conninfo, user: str) -> str:
    return f"postgresql://{user}@/{target.dbname}?host={target.get('host')}"


def test_every_block_is_one_that_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "ts"}


def test_the_commands_succeed(contract: Contract, database: Conninfo) -> None:
    commands = [text for language, text in BLOCKS if language == "sh"]
    url = database_url(database, "case_backup")

    for text in commands:
        ended = contract.run_shell(text, DATABASE_URL=url)
        assert ended.code == 0, ended.out + ended.err
        assert "No difference detected." in ended.out


def test_the_program_prints_what_the_page_says(back_end: BackEnd) -> None:
    expected = re.findall(r"console\.log\(.*\) +// (.*)$", PROGRAM, re.M)
    url = database_url(back_end.admin, "case_app")

    ended = back_end.contract.run_file(PROGRAM, target=back_end.admin, DATABASE_URL=url)

    assert ended.out.splitlines() == expected, ended.err
    assert len(expected) == PROGRAM.count("console.log(") > 10
    assert ended.code == 0


def test_the_program_and_the_contract_have_the_types_they_claim(contract: Contract) -> None:
    ended = contract.type_check(PROGRAM)

    assert (ended.code, ended.out) == (0, "")


def test_a_wrong_type_is_found(contract: Contract) -> None:
    wrong = PROGRAM.replace("status: 'PENDING_REVIEW' }", "status: 'NO_SUCH_STATUS' }")
    assert wrong != PROGRAM

    assert "CaseStatus" in contract.type_check(wrong).out


def test_the_page_opens_with_what_this_is_not() -> None:
    assert PAGE.split("\n\n")[1].startswith("**What this is not.**")
