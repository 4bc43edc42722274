"""A throwaway cluster in a container, for drills on a host without a server of that version.

Nothing listens on a port, the container has no network, and there is no password: its socket lies
in a folder of ours of mode 0700, as that of any throwaway cluster. Its data go with the container.
"""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from casedb.conninfo import Conninfo
from casedb.containers import DockerError, ImageNotFound, docker_client
from casedb.database import connect
from casedb.errors import ConfigurationError, ServerUnreachableError, ToolFailedError
from casedb.throwaway import SETTINGS, scratch_folder, sweep_scratch, writing

_LABEL = "casedb.throwaway"
_PREFIX = "casedb-container-"
_SOCKET_DIR = "/casedb-socket"
_START_TIMEOUT_S = 60.0
_POLL_S = 0.1
_LOG_LINES = 8
# Past the image's own entrypoint: it would start a server twice and want a password.
_SCRIPT = """
initdb --pgdata=/tmp/data --username="$CASEDB_SUPERUSER" --encoding=UTF8 --locale=C.UTF-8 \
    --auth=trust --data-checksums --no-sync --no-instructions >/dev/null
exec postgres -D /tmp/data "$@"
"""


@contextmanager
def throwaway_container(
    image: str, *, superuser: str, folder: Path | None = None
) -> Iterator[Conninfo]:
    """Run a cluster of `image` for the length of the block and yield its superuser's conninfo.

    The image needs initdb and postgres on its path and a user postgres, as the official ones have.
    The socket lies below `folder` (default: the system's for temporary files). What a killed run
    left is removed by the next one.

    Raises:
        ConfigurationError: Docker does not answer, or has no such image and cannot get it.
        ToolFailedError: the server did not start, or the folder cannot be written.
    """
    with docker_client() as client:
        _sweep(client)
        with writing(folder):
            # Of runs that were killed before they had a container, or after it was gone.
            sweep_scratch(_PREFIX, folder)
        with scratch_folder(_PREFIX, folder) as home:
            socket_dir = home / "s"
            with writing(folder):
                socket_dir.mkdir()
            # The container's postgres has a number that this machine does not know.
            socket_dir.chmod(0o777)
            target = Conninfo({"host": str(socket_dir), "dbname": "postgres", "user": superuser})
            container = None
            try:
                container = _create(client, image, superuser, home, socket_dir)
                container.start()
                _wait_until_ready(container, target)
                yield target
            finally:
                if container is not None:
                    container.remove(force=True, v=True)


def _create(client: Any, image: str, superuser: str, home: Path, socket_dir: Path) -> Any:
    settings = {**SETTINGS, "listen_addresses": "", "unix_socket_directories": _SOCKET_DIR}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    if not _is_there(client, image):
        raise ConfigurationError(
            f"Docker has no image {image}",
            detail="It is not on this machine, and could not be pulled.",
            hint="Load it (docker pull, docker load), or name another: drill_image in casedb.toml.",
        )
    return client.containers.create(
        image,
        entrypoint=["sh", "-ec", _SCRIPT, "sh"],
        command=words,
        user="postgres",
        environment={"CASEDB_SUPERUSER": superuser, "TZ": "UTC"},
        labels={_LABEL: str(home)},
        network_mode="none",
        volumes={str(socket_dir): {"bind": _SOCKET_DIR, "mode": "rw"}},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        shm_size="256m",
    )


def _is_there(client: Any, image: str) -> bool:
    with suppress(ImageNotFound):
        client.images.get(image)
        return True
    try:
        client.images.pull(image)
    except DockerError:
        return False
    return True


def _wait_until_ready(container: Any, target: Conninfo) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with connect(target, purpose="throwaway"):
                return
        except ServerUnreachableError:
            container.reload()
            if container.status not in ("created", "running"):
                break
            time.sleep(_POLL_S)
    logged = container.logs(tail=_LOG_LINES).decode(errors="replace").strip()
    raise ToolFailedError(
        "the container's server did not start",
        detail=logged or f"It is {container.status}, and wrote nothing.",
        hint="Does the image have initdb, postgres and a user postgres, as the official ones do?",
    )


def _sweep(client: Any) -> None:
    for container in client.containers.list(all=True, filters={"label": _LABEL}):
        home = Path(container.labels[_LABEL])
        if _is_alive(home):
            continue
        # Another run sweeps too.
        with suppress(DockerError):
            container.remove(force=True, v=True)
        if home.name.startswith(_PREFIX):
            shutil.rmtree(home, ignore_errors=True)


def _is_alive(home: Path) -> bool:
    try:
        with (home / "alive").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        # Held; or another user's, who sweeps it himself.
        return True
    return False
