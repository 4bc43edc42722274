"""Between a client and an S3 server: keeps a log, and can fail, slow down or stop what passes."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

# Longer than any client waits: on a busy machine a minute passes before a test has looked.
_HOLD_S = 600
_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Seen:
    """One request, and what it was answered."""

    method: str
    path: str
    status: int
    span: str = ""
    """Which bytes were asked for; empty: all."""
    agent: str = ""
    """What the client called itself; AWS_SDK_UA_APP_ID names one run among several."""

    @property
    def part(self) -> int:
        """Which part of a long object it brought, from 1 on; 0 if none."""
        found = parse_qs(urlsplit(self.path).query).get("partNumber")
        return int(found[0]) if found and self.method == "PUT" else 0


Fault = Callable[[str, str], int | None]
"""Gets a method and a path; returns the status to answer without asking the server, or None."""


@dataclass
class Proxy:
    """The server behind is `upstream`; clients use `endpoint`."""

    upstream: str
    endpoint: str = ""
    seen: list[Seen] = field(default_factory=list)
    fault: Fault = lambda _method, _path: None
    hold: Callable[[str, str], bool] = lambda _method, _path: False
    """Whether a request has to wait, before it is passed on, until `go_on` is set."""
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    drop: bool = False
    """Whether what was held is thrown away instead of passed on."""
    cut: Callable[[str, str], bool] = lambda _method, _path: False
    """Whether the connection ends in the middle of an answer's body."""
    mute: Callable[[str, str], bool] = lambda _method, _path: False
    """Whether the answer is lost: the server did it, and the client never hears of it."""
    bytes_per_s: int = 0
    """How fast bodies are passed on; 0: as fast as they come."""

    def count(self, status: int) -> int:
        return sum(one.status == status for one in self.seen)

    def parts(self) -> int:
        """How many parts of long objects the server took."""
        return sum(one.part > 0 and one.status == 200 for one in self.seen)


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    made = Proxy(upstream)

    class Handler(_Handler):
        between = made

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.go_on.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    between: Proxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        between = self.between
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if between.bytes_per_s and body:
            time.sleep(len(body) / between.bytes_per_s)
        status = between.fault(self.command, self.path)
        if status is not None:
            self._note(status)
            self._answer(status, [("Content-Length", "0")], b"")
            return
        if between.hold(self.command, self.path):
            between.held.set()
            between.go_on.wait(_HOLD_S)
            if between.drop:
                self._note(0)
                self.close_connection = True
                return
        try:
            status, headers, data = self._ask(body)
        except (OSError, http.client.HTTPException):
            # As if there were nobody in between: the connection just ends.
            self._note(0)
            self.close_connection = True
            return
        self._note(status)
        if between.mute(self.command, self.path):
            self.close_connection = True
            return
        self._answer(status, headers, data, cut=between.cut(self.command, self.path))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.between.upstream).netloc, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                # The host stays the client's: it is part of what was signed.
                if name.lower() not in (*_NOT_PASSED_ON, "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False
    ) -> None:
        with suppress(OSError):
            self.send_response_only(status)
            length = [value for name, value in headers if name.lower() == "content-length"]
            for name, value in headers:
                if name.lower() not in (*_NOT_PASSED_ON, "content-length"):
                    self.send_header(name, value)
            # What a HEAD says is the length of what a GET would bring.
            head = self.command == "HEAD" and length
            self.send_header("Content-Length", length[0] if head else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def _note(self, status: int) -> None:
        span = self.headers.get("Range") or ""
        agent = self.headers.get("User-Agent") or ""
        self.between.seen.append(Seen(self.command, self.path, status, span, agent))

    def log_message(self, *_: object) -> None:
        """Print nothing: the log is `seen`."""
