"""PostgreSQL's programs with an extension of ours among the server's own, in a folder of their own.

A server takes its extensions from one folder, and looks for that where its programs lie: a copy of
both may be written to, and nothing is left in the system's.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from casedb.tools import PostgresTools, tools_in

CONTROL = "default_version = '{version}'\nrelocatable = true\n"
FIRST = """
CREATE TABLE jobs (id int PRIMARY KEY, name text, builtin bool NOT NULL DEFAULT false);
INSERT INTO jobs VALUES (1, 'its own {100%}', true);
SELECT pg_extension_config_dump('jobs', $$WHERE NOT builtin AND name NOT LIKE '{100%'$$);
CREATE TABLE "all Of it" (id int);
SELECT pg_extension_config_dump('"all Of it"', '');
CREATE TABLE kept_by_itself (id int);
CREATE TABLE empty (id int);
CREATE SEQUENCE job_number;
SELECT pg_extension_config_dump('job_number', '');
CREATE SEQUENCE of_no_matter;
"""
# One more column, not at the end, and one more table.
SECOND = FIRST.replace("PRIMARY KEY, name", "PRIMARY KEY, more int, name").replace(
    "(1, ", "(1, 0, "
)
SECOND += "CREATE TABLE later AS SELECT 1 AS i; SELECT pg_extension_config_dump('later', '');"


@dataclass(frozen=True)
class Extended:
    """The programs, and the folder where their server looks for extensions."""

    tools: PostgresTools
    folder: Path

    def install(self, version: str) -> None:
        """Make `version` of the extension "confy" the one that CREATE EXTENSION brings."""
        (self.folder / "confy.control").write_text(CONTROL.format(version=version))


@contextmanager
def extended(tools: PostgresTools) -> Iterator[Extended]:
    """Copy `tools`, and what their server reads, for the length of the block."""
    argv = [tools["pg_config"], "--sharedir"]
    share = Path(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    bindir = tools.bindir.resolve()
    above = bindir.parents[2]
    common = Path(os.path.commonpath([above, share]))
    # Below nobody's own folder: as root, the server runs as somebody else.
    with tempfile.TemporaryDirectory(prefix="casedb-extended-") as name:
        root = Path(name)
        root.chmod(0o755)
        copy, shared = (root / path.relative_to(common) for path in (bindir, share))
        shutil.copytree(bindir, copy)
        shutil.copytree(share, shared)
        (copy.parent / "lib").symlink_to(bindir.parent / "lib")
        # A wheel has its libraries beside its packages.
        for libraries in above.glob("*.libs"):
            (root / libraries.relative_to(common)).symlink_to(libraries)
        found = Extended(tools_in(copy, source=tools.source), shared / "extension")
        for version, script in (("1.0", FIRST), ("2.0", SECOND)):
            (found.folder / f"confy--{version}.sql").write_text(script)
        found.install("1.0")
        yield found
