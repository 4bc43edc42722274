"""A wire between a client and a server's socket that can be cut."""

import contextlib
import select
import socket
import threading
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Pipe:
    """Listens in `folder` as a server would, and passes everything on to the one in `server`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self._server = server
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / SOCKET))
        self._listening.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Cut every connection there is; return how many."""
        cut, self._open = self._open, []
        for end in (end for both in cut for end in both):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(cut)

    @property
    def living(self) -> int:
        """How many connections neither side has closed."""
        return len(self._open)

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server / SOCKET))
            except OSError:
                client.close()
                server.close()
                continue
            self._open.append((client, server))
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError, ValueError):
            try:
                self._carry(client, server)
            finally:
                # Whoever cut it has forgotten it already.
                self._open.remove((client, server))

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for end in ready:
                data = end.recv(1 << 16)
                if not data:
                    return
                (server if end is client else client).sendall(data)
