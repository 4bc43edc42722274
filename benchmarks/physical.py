"""A physical copy of a server: what no dump can reach. Neither way verifies what it restores."""

import shutil
from pathlib import Path

from benchmarks.site import Site
from casedb import cluster
from casedb import tools as programs
from casedb.database import connect, scalar
from casedb.unprivileged import launcher


class PhysicalCopy:
    """A copy of the site's server by pg_basebackup, in `folder`."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder

    def take(self) -> None:
        """Copy the server as it lies, all of its databases."""
        shutil.rmtree(self._folder, ignore_errors=True)
        tools = self._site.tools
        programs.run(
            [
                tools["pg_basebackup"], f"--pgdata={self._folder}", "--checkpoint=fast",
                "--wal-method=fetch",
            ],
            target=self._site.own.admin,
        )  # fmt: skip

    def bring_back(self, place: Path) -> None:
        """Copy the copy into `place`, start a server there until it answers, and stop it."""
        data = place / "data"
        shutil.copytree(self._folder, data, symlinks=True)
        run_as = launcher()
        # mkdtemp's 0700 keeps the server's own user out.
        place.chmod(0o711)
        run_as.give(data)
        data.chmod(0o700)
        settings = cluster.Settings(socket_dir=data, port=5432, listen_addresses="", server={})
        cluster.configure(data, settings, launcher=run_as)
        usable = run_as.reachable_tools(self._site.tools, self._site.folder)
        try:
            cluster.start(usable, data, log=data / "server.log", launcher=run_as)
        finally:
            cluster.stop(data)


class PgBackRest:
    """One full backup by pgBackRest, where it is installed.

    Without an archive of the WAL it cannot be recovered: good for a time, and for nothing else.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        with connect(site.own.admin, purpose="bench") as connection:
            self._data = str(scalar(connection, "SHOW data_directory"))
        admin = site.own.admin
        self._server = [
            f"--pg1-socket-path={admin.get('host')}",
            f"--pg1-port={admin.get('port')}",
            f"--pg1-user={admin.user}",
        ]
        self._target = admin
        self._folder = folder
        self._common = [
            "--stanza=bench", "--log-level-file=off", "--log-level-console=off",
            f"--repo1-path={folder / 'repo'}", f"--lock-path={folder / 'lock'}",
        ]  # fmt: skip

    @staticmethod
    def installed() -> bool:
        """Whether this machine has it."""
        return programs.have("pgbackrest")

    def take(self) -> None:
        """Take a full backup of the server, compressed as ours is."""
        here = [f"--pg1-path={self._data}", *self._server]
        shutil.rmtree(self._folder, ignore_errors=True)
        self._run("stanza-create", *here, "--no-online")
        self._run(
            "backup", *here, "--process-max=2", "--type=full", "--start-fast", "--no-archive-check",
            "--compress-type=zst", "--compress-level=1",
        )  # fmt: skip

    def bring_back(self, place: Path) -> None:
        """Restore it into `place`; no server is started."""
        data = place / "data"
        data.mkdir(mode=0o700)
        self._run("restore", f"--pg1-path={data}", "--process-max=2", "--type=none")

    def _run(self, command: str, *words: str) -> None:
        programs.run(["pgbackrest", *self._common, *words, command], target=self._target)
