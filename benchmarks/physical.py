"""A physical copy of a server: what no dump can reach. Neither way verifies what it restores."""

import shutil
from pathlib import Path

from benchmarks.site import Site
from casedb import cluster
from casedb import tools as programs
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
