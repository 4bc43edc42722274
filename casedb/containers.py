"""The one door to Docker's own library: a client that answers, or an error in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import DockerException as DockerError
from docker.errors import ImageNotFound

from casedb.errors import ConfigurationError, ToolFailedError

__all__ = ["DockerError", "ImageNotFound", "docker_client"]


@contextmanager
def docker_client() -> Iterator[Any]:
    """Yield a client of the Docker that the environment names.

    Raises:
        ConfigurationError: Docker does not answer.
        ToolFailedError: it reported an error inside of the block.
    """
    client = None
    try:
        client = docker.from_env(timeout=120)
        client.ping()
        yield client
    except DockerError as error:
        if client is not None and not _is_unreachable(error):
            raise ToolFailedError("Docker reported an error", detail=f"{error}.") from error
        raise ConfigurationError(
            "Docker does not answer",
            detail=f"{error}.",
            hint="Install it and start it (Debian: apt install docker.io), or join group docker.",
        ) from error
    finally:
        if client is not None:
            client.close()


def _is_unreachable(error: DockerError) -> bool:
    text = str(error)
    return "Connection aborted" in text or "Error while fetching server API version" in text
