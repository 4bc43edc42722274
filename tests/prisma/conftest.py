"""The back end as its developers would write it: TypeScript on the contract's own files."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.node import Ended, Node, find_node, run_script
from casedb.prisma import generate, node_postgres_environment, prepare
from casedb.seed import seed_demo

_numbers = count(1)
_BEFORE = """
import { after, asClaims, asUser, createClient, refusal } from './client.ts'
import type { Refusal } from './client.ts'

const users = JSON.parse(process.env.TEST_USERS ?? '{}') as Record<string, string>
const clerk = users['clerk@example.com'] ?? ''
const chair = users['chair@example.com'] ?? ''
const caseworker = users['caseworker@example.com'] ?? ''
const sample = users['sample'] ?? ''
// Two connections: what one leaves behind, the next one finds.
const app = createClient({ max: 2 })

/** What PostgreSQL said against it. */
async function refused(work: Promise<unknown>): Promise<Refusal | string> {
  try {
    await work
  } catch (error) {
    return refusal(error) ?? String(error)
  }
  return 'it was not refused'
}

async function main(): Promise<unknown> {
"""
_AFTER = """
}

main()
  .then((result) => console.log('RESULT ' + JSON.stringify(result ?? null)))
  .finally(() => app.$disconnect())
"""


@dataclass(frozen=True)
class Contract:
    """The contract's files with their npm packages and a generated client."""

    place: Path
    node: Node

    def run(
        self,
        *words: str,
        target: Conninfo | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run one of the packages' programs, such as tsx, in the contract's folder."""
        program = self.place / "node_modules" / ".bin" / words[0]
        # The programs of npm look for their configuration in the current folder.
        argv = ["env", "-C", str(self.place), str(program), *words[1:]]
        variables = {**_server_environment(target), **(env or {})}
        return run_script(self.node, argv, env=variables, may_fail=True, timeout_s=120)

    def run_shell(self, text: str, **env: str) -> Ended:
        """Run shell commands in the contract's folder."""
        argv = ["env", "-C", str(self.place), "bash", "-euc", text]
        return run_script(self.node, argv, env=env, may_fail=True, timeout_s=120)

    def type_check(self, text: str) -> Ended:
        """Check the types of `text` and of the contract's own files."""
        with self._file(text) as name:
            files = [*(p.name for p in self.place.glob("[!t]*.ts")), name]
            project = self.place / f"{name}.json"
            project.write_text(json.dumps({"extends": "./tsconfig.json", "files": files}))
            try:
                return self.run("tsc", "--project", project.name)
            finally:
                project.unlink()

    def run_file(self, text: str, *, target: Conninfo, **env: str) -> Ended:
        """Run `text` as a module beside client.ts."""
        with self._file(text) as name:
            return self.run("tsx", name, target=target, env=env)

    @contextmanager
    def _file(self, text: str) -> Iterator[str]:
        file = self.place / f"test-{os.getpid()}-{next(_numbers)}.ts"
        file.write_text(text)
        try:
            yield file.name
        finally:
            file.unlink()


@dataclass(frozen=True)
class BackEnd:
    """A back end on one database with the plan's sample data."""

    contract: Contract
    admin: Conninfo
    users: dict[str, str]

    def __call__(self, body: str, *, user: str = "case_app", **env: str) -> Any:
        """Run `body` in an async function, connected as `user`; return what it returns."""
        ended = self.contract.run_file(
            _BEFORE + body + _AFTER,
            target=self.admin.replace(user=user),
            TEST_USERS=json.dumps(self.users),
            **env,
        )
        assert ended.code == 0, ended.err
        last = ended.out.strip().splitlines()[-1]
        return json.loads(last.removeprefix("RESULT "))


def _server_environment(target: Conninfo | None) -> dict[str, str]:
    if target is None:
        return {}
    with connect(target, purpose="test") as connection:
        return node_postgres_environment(connection)


@pytest.fixture(scope="session")
def node() -> Node:
    try:
        return find_node()
    except ConfigurationError as error:
        pytest.skip(f"{error.message}: {error.hint}")


@pytest.fixture(scope="session")
def contract(node: Node) -> Contract:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casedb"
    place = prepare(cache, node)
    generate(place, node)
    return Contract(place, node)


@pytest.fixture
def back_end(contract: Contract, database: Conninfo) -> BackEnd:
    """A back end on a database of its own, with the plan's three users and their case."""
    seed_demo(database.replace(user="case_seed"))
    with connect(database, purpose="test") as connection:
        rows = connection.execute(
            "SELECT email, id::text FROM public.users"
            " UNION ALL SELECT 'sample', id::text FROM public.cases"
        ).fetchall()
    return BackEnd(contract, database, dict(rows))
