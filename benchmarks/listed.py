"""A bucket that has exactly the documents of a database: as many objects, and none stored.

It answers the one question that `casedb documents check` asks, a page at a time and in order.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from psycopg import Connection

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.sqlfiles import read_sql

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything"}
_PAGE = 1000
_ENTRY = (
    "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>x</ETag>"
    "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
)


@contextmanager
def bucket_of(target: Conninfo) -> Iterator[str]:
    """Yield the address of a bucket that lists what `target` has in case_documents."""
    with connect(target, purpose="bench", autocommit=False) as connection:
        pages = _Pages(connection)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                body = pages.page(first="continuation-token" not in asked)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"s3://documents?endpoint=http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class _Pages:
    """One listing, from its first page to its last; one client reads it at a time."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def page(self, *, first: bool) -> bytes:
        with self._lock:
            if first:
                self._cursor = self._connection.cursor("listed", scrollable=False)
                self._cursor.execute(read_sql("documents/recorded.sql"))
            rows = self._cursor.fetchmany(_PAGE)
            is_last = len(rows) < _PAGE
            if is_last:
                self._cursor.close()
        entries = "".join(_ENTRY.format(key=escape(key), size=size) for key, size in rows)
        # boto3 takes the same token twice for a server that goes round in circles.
        token = "" if is_last else escape(str(rows[-1][0]))
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return (
            '<?xml version="1.0"?><ListBucketResult>'
            f"<IsTruncated>{str(not is_last).lower()}</IsTruncated>{more}{entries}"
            "</ListBucketResult>"
        ).encode()
