"""A host with PgBouncer, and what a test does with it."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from casedb.conninfo import Conninfo
from deploy.pooler_host import Wish, asked, version_of, wanted
from deploy.sending import pooling_program

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

PASSWORDS = ".casedb/rehearsal/passwords"
DATABASE = "case_management"
CONSOLE = "host=/run/pgbouncer port=6432 dbname=pgbouncer user=postgres"


@dataclass(frozen=True)
class Pooled:
    """A host with a pooler, and the way to it from here."""

    host: "Host"
    rehearsal: "Rehearsal"
    way: Conninfo
    """Of case_app, over TLS with the certificate verified."""

    @property
    def data(self) -> dict[str, Any]:
        roles = ("case_app", "case_pooler")
        return {"pooler": True, "passwords": {r: f"file:{PASSWORDS}/{r}" for r in roles}}

    def verb(self, verb: str, *words: str, **data: Any) -> tuple[int, dict[str, Any]]:
        """Run `casedb host VERB` on this host with other data; return its code and what it said."""
        inventory = self.rehearsal.inventory(**{self.host.name: {**self.data, **data}})
        code, found = self.rehearsal.host(
            verb, "--limit", self.host.name, *words, inventory=inventory
        )
        (about,) = found["hosts"]
        return code, about

    def changes(self, verb: str = "plan", *words: str, **data: Any) -> dict[str, str]:
        """Return what a plan or an apply changes, with its effect."""
        code, about = self.verb(verb, *words, **data)
        assert (code, about["error"]) in ((0, None), (9, None)), about["error"]
        return {c["what"]: c["effect"] for step in about["steps"] for c in step["changes"]}

    def apply(self, **data: Any) -> dict[str, str]:
        return self.changes("apply", "--yes", **data)

    @property
    def process(self) -> str:
        return self.host.run("systemctl show --property=MainPID --value pgbouncer")

    def console(self, sql: str) -> str:
        """Ask the console as postgres, who restores."""
        return self.host.run(f"cd / && runuser -u postgres -- psql -XAtq -d '{CONSOLE}' -f -", sql)

    def password(self, role: str) -> str:
        return (self.rehearsal.folder / PASSWORDS / role).read_text().strip()

    def pooling(self, **spoiled: Any) -> tuple[int, dict[str, Any]]:
        """Run the program that gives PgBouncer its configuration, past pyinfra."""
        system = self.host.run(". /etc/os-release; echo $VERSION_ID")
        package = self.host.run("dpkg-query -W -f '${Version}' pgbouncer")
        connections = self.host.sql("SHOW max_connections")
        wish = Wish((DATABASE,), 5432, int(connections), self.password("case_pooler"))
        target = wanted(
            wish,
            version=version_of(package, system),
            cluster_unit=f"postgresql@{self.host.major}-main.service",
            hard_files=int(self.host.run("grep 'Max open files' /proc/1/limits").split()[4]),
        )
        request = asked(wish, target, restart=False, fixed=[], timeout_s=5)
        for path, (old, new) in spoiled.pop("texts", {}).items():
            assert old in request["files"][path]["content"]
            content = request["files"][path]["content"].replace(old, new)
            request["files"][path] = {**request["files"][path], "content": content}
        request["settings"] = {**request["settings"], **spoiled.pop("settings", {})}
        done = self.host.start("python3 -", pooling_program({**request, **spoiled}))
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])


def wait_for(way: Conninfo) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(way.dsn, connect_timeout=5):
                return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def make_staff(host: "Host") -> list[tuple[str, str]]:
    """Make users of each role, by id and database role; each clerk has created a case."""
    mark = uuid4().hex[:8]
    made = host.sql(f"""
        WITH users AS (
            INSERT INTO public.users (email, password, role, first_name, last_name)
            SELECT format('u%s-{mark}@example.com', n), '$2b$10$' || repeat('a', 53),
                   (ARRAY['CLERK', 'CASEWORKER', 'CHAIR'])[n % 3 + 1], 'a', 'b'
            FROM generate_series(0, 11) AS n RETURNING id, role
        )
        SELECT id || ' case_' || lower(role) FROM users
    """)
    staff = [(user, role) for user, _, role in (line.partition(" ") for line in made.splitlines())]
    for user, role in staff:
        if role == "case_clerk":
            host.sql(
                "INSERT INTO public.cases (title, description, created_by)"
                f" VALUES ('Pooled', '', '{user}')"
            )
    return staff
