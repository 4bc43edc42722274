"""Operations run the way pyinfra tests its own: on a host whose facts are known."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State, StringCommand
from pyinfra.context import ctx_host, ctx_state

from deploy.changes import noted


class Host:
    """One host with known facts; runs an operation's inner function and shows its commands."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.host = next(iter(state.inventory))

    def __call__(
        self, operation: Any, facts: dict[str, Any], *args: Any, **kwargs: Any
    ) -> list[str]:
        self.host.connector_data = {"casedb_state": facts}
        return [self._shown(c) for c in operation._inner(*args, **kwargs)]

    @staticmethod
    def _shown(command: StringCommand) -> str:
        stdin = command.connector_arguments.get("_stdin")
        return command.get_masked_value() + (f"\n<<{stdin}" if stdin else "")

    @property
    def changes(self) -> list[str]:
        return [line for change in noted(self.host, None) for line in (change.what, *change.lines)]  # type: ignore[arg-type]


@pytest.fixture
def on_host() -> Iterator[Host]:
    state = State(Inventory((["@local"], {})), Config())
    host = Host(state)
    with ctx_state.use(state), ctx_host.use(host.host):
        state.is_executing = True
        yield host


def file(content: str, **found: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    has = {"kind": "file", "mode": "644", "user": "root", "group": "root", "sha256": sha256}
    return {**has, "content": content, **found}
