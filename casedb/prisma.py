"""The back end's contract: does a Prisma schema describe the database that the migrations made?

The comparison itself is sql/prisma/drift.ts: Prisma's own engine, as WebAssembly. Here it gets its
packages, its server and its exit code.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from casedb.conninfo import Conninfo, redact
from casedb.database import connect
from casedb.errors import ConfigurationError, UnverifiedError
from casedb.node import Node, run_script
from casedb.sqlfiles import folder

SCHEMA = "schema.prisma"
_DIFFERENT = 2
_INSTALL_TIMEOUT_S = 900.0
_INSTALLED = ".installed"
_ERR_LINES_SHOWN = 6


@dataclass(frozen=True)
class Drift:
    """What a database has otherwise than a schema."""

    schema: Path
    differences: tuple[str, ...]
    """Lines for people, in Prisma's words; empty: none."""

    @property
    def found(self) -> bool:
        """Whether there is any."""
        return bool(self.differences)


def prepare(
    cache: Path, node: Node, *, on_progress: Callable[[str], None] = lambda _: None
) -> Path:
    """Return a folder below `cache` with the contract's files and its npm packages.

    The packages are installed once for each lock file, from the registry that npm is set up for;
    no script of theirs runs. Outside of the checkout: a wheel's own folder may be read-only, and
    300 MB of packages are not to end up in one.

    Raises:
        ToolFailedError: npm failed.
    """
    source = folder("sql/prisma")
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]
    place = cache / f"prisma-{lock}"
    if not (place / _INSTALLED).exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Beside and then renamed: what a killed run leaves never looks complete.
        with tempfile.TemporaryDirectory(dir=cache, prefix=f"{place.name}.") as scratch:
            fresh = Path(scratch) / "new"
            _copy(source, fresh)
            on_progress("installing npm packages")
            run_script(
                node,
                [*node.npm_argv, "--prefix", str(fresh), "ci", "--ignore-scripts", "--no-audit"],
                timeout_s=_INSTALL_TIMEOUT_S,
            )
            (fresh / _INSTALLED).touch()
            try:
                fresh.rename(place)
            except OSError:
                # Another run was faster; a folder with something in it cannot be replaced.
                if not (place / _INSTALLED).exists():
                    raise
    _copy(source, place)
    return place


def generate(place: Path, node: Node) -> None:
    """Generate the client of the schema in `place`; needs no network.

    Raises:
        ToolFailedError: the schema is not valid.
    """
    config = place / "prisma.config.ts"
    run_script(node, [_program(place, "prisma"), "generate", f"--config={config}"])


def check_drift(target: Conninfo, place: Path, node: Node, *, schema: Path | None = None) -> Drift:
    """Compare `schema` (default: our own) with the database; `place` is what `prepare` returned.

    The login role has to see every column, as case_backup does.

    Raises:
        ServerUnreachableError: no server.
        ConfigurationError: there is no such schema file.
        UnverifiedError: the comparison itself failed: a role that sees too little, a bad schema.
    """
    chosen = (schema or place / SCHEMA).absolute()
    if not chosen.is_file():
        raise ConfigurationError(
            f"there is no Prisma schema {chosen}", hint="Name one with --schema."
        )
    with connect(target, purpose="prisma check") as connection:
        environment = node_postgres_environment(connection)
    argv = [_program(place, "tsx"), str(place / "drift.ts"), str(chosen)]
    ended = run_script(node, argv, env=environment, may_fail=True)
    if ended.code not in (0, _DIFFERENT):
        lines = redact(ended.err or ended.out).strip().splitlines()
        raise UnverifiedError(
            "the Prisma schema and the database could not be compared",
            detail="\n".join(lines[:_ERR_LINES_SHOWN]),
            hint="Compare as a role that sees every column: `dump_user` in casedb.toml.",
        )
    lines = [line.rstrip() for line in ended.out.strip().splitlines() if line.strip()]
    return Drift(chosen, tuple(lines) if ended.code == _DIFFERENT else ())


def node_postgres_environment(connection: Connection[Any]) -> dict[str, str]:
    """Return how node-postgres reaches the server that `connection` reached, as its environment.

    It reads some of libpq's variables, but neither service files nor all words of sslmode; so libpq
    resolves them, and only the outcome is passed on.
    """
    info = connection.info
    words = info.get_parameters()
    found = {
        "PGHOST": info.host,
        "PGPORT": str(info.port),
        "PGDATABASE": info.dbname,
        "PGUSER": info.user,
        "PGPASSWORD": info.password,
        "PGAPPNAME": "casedb prisma check",
        "PGSSLMODE": "disable",
        # Ours would otherwise come before the server's words above.
        "DATABASE_URL": "",
    }
    if connection.pgconn.ssl_in_use:
        verifies = words.get("sslmode") in ("verify-ca", "verify-full")
        found["PGSSLMODE"] = "verify-full" if verifies else "no-verify"
        if verifies and words.get("sslrootcert"):
            found["NODE_EXTRA_CA_CERTS"] = words["sslrootcert"]
    return found


def _program(place: Path, name: str) -> str:
    return str(place / "node_modules" / ".bin" / name)


def _copy(source: Path, target: Path) -> None:
    """Bring the contract's own files in `target` up to date."""
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        wanted = target / file.name
        # What somebody installed or generated in the checkout stays there.
        if not file.is_file() or (wanted.exists() and wanted.read_bytes() == file.read_bytes()):
            continue
        # Another run may read it at this moment.
        fresh = wanted.with_name(f"{wanted.name}.{os.getpid()}")
        shutil.copy(file, fresh)
        fresh.replace(wanted)
