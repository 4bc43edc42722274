"""What the pgAdmin image's entrypoint does with its variables and files, and a page that proves it.

/misc/ping answers as pgAdmin does; /cases logs in with the first server of servers.json and the
password file that was put into the user's storage, and counts the cases.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path("/var/lib/pgadmin")


def main() -> None:
    """Prepare the user's storage, and serve."""
    email = os.environ["PGADMIN_DEFAULT_EMAIL"]
    password = Path(os.environ["PGADMIN_DEFAULT_PASSWORD_FILE"]).read_text()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", email):
        sys.exit(f"'{email}' does not appear to be a valid email address.")
    if not password:
        sys.exit("You need to define PGADMIN_DEFAULT_PASSWORD or PGADMIN_DEFAULT_PASSWORD_FILE.")
    storage = DATA / "storage" / email.replace("@", "_")
    storage.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ["PGPASS_FILE"], storage / ".pgpass")
    (storage / ".pgpass").chmod(0o600)
    servers = json.loads(Path("/pgadmin4/servers.json").read_text())["Servers"]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first = servers["1"]
            if self.path == "/misc/ping":
                self._answer(200, "PING")
            elif self.path == "/cases":
                # pgAdmin takes the path as one below the user's storage.
                passfile = storage / first["PassFile"].lstrip("/")
                words = f"host={first['Host']} port={first['Port']} user={first['Username']}"
                words += f" dbname={first['MaintenanceDB']} passfile={passfile}"
                argv = ["psql", "-wXAtc", "SELECT count(*) FROM public.cases", words]
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                self._answer(200 if done.returncode == 0 else 500, done.stdout + done.stderr)
            else:
                self._answer(404, "")

        def _answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_args: object) -> None:
            pass

    ThreadingHTTPServer(("0.0.0.0", 80), Answer).serve_forever()


if __name__ == "__main__":
    main()
