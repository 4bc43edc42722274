"""pyinfra in a process of its own: gevent patches the whole of it. Started by deploy/runs.py.

One JSON object a line: the request on standard input; on standard output a line for each step,
the plan, and, once the answer "go" has come in, the result. Every host goes its own way: one that
fails, or is slow, neither stops nor delays the others.
"""

# Before anything else: what is imported earlier keeps the unpatched functions.
from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from pyinfra.api import Config, Host, Inventory, State  # noqa: E402
from pyinfra.api.exceptions import ConnectError, PyinfraError  # noqa: E402
from pyinfra.api.operations import run_host_op  # noqa: E402
from pyinfra.api.state import StateStage  # noqa: E402
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state  # noqa: E402
from pyinfra_cli.inventory import make_inventory_from_files  # noqa: E402

from deploy import sudo  # noqa: E402
from deploy.changes import mask, noted, remarks  # noqa: E402
from deploy.check import without_verifiers  # noqa: E402
from deploy.defaults import TUNED_BY  # noqa: E402
from deploy.facts import HostFailedError, forget, host_data, host_standing, host_state  # noqa: E402
from deploy.secrets import resolve  # noqa: E402
from deploy.site import site  # noqa: E402

_CONNECT_TIMEOUT_S = 15
_FRESH_S = 15


class Run:
    """One inventory, connected."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.limit: list[str] = request["limit"]
        self.errors: dict[str, str] = {}
        self.commands: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.gathered: dict[str, dict[str, Any]] = {}
        self.tuned_by: dict[str, dict[str, Any]] = {}
        inventory = self._inventory(request["inventory"])
        if not len(inventory):
            raise ValueError("it has no host")
        config = Config(CONNECT_TIMEOUT=_CONNECT_TIMEOUT_S)
        self.state = State(inventory, config)
        self.state.cwd = str(Path.cwd())
        self.hosts: list[Host] = [
            host for host in inventory if not self.limit or self._chosen(host)
        ]

    def _inventory(self, path: str) -> Inventory:
        # The group data may ask pyinfra for its state, which needs one that is empty.
        with ctx_state.use(State(Inventory.empty(), Config())):
            found: Inventory = make_inventory_from_files(path, cwd=str(Path.cwd()))
        return found

    def _chosen(self, host: Host) -> bool:
        return host.name in self.limit or bool(set(host.groups) & set(self.limit))

    def unmatched(self) -> list[str]:
        """Return what of the limit names no host and no group."""
        known = {host.name for host in self.state.inventory} | set(self.state.inventory.groups)
        return [name for name in self.limit if name not in known]

    def each(self, stage: StateStage, work: Callable[[Host], None]) -> None:
        """Do `work` on all hosts that have not failed, at the same time."""
        if self.state.current_stage < stage:
            self.state.set_stage(stage)

        def on(host: Host) -> None:
            began = time.monotonic()
            with ctx_host.use(host):
                try:
                    work(host)
                except (HostFailedError, ValueError, PyinfraError, ConnectError) as error:
                    self.fail(host, str(error))
                except Exception as error:
                    self.fail(host, f"unexpected {type(error).__name__}: {error}")
            self.seconds[host.name] = round(
                self.seconds.get(host.name, 0.0) + time.monotonic() - began, 2
            )

        going = [host for host in self.hosts if host.name not in self.errors]
        with ctx_state.use(self.state), ctx_inventory.use(self.state.inventory):
            gevent.joinall([gevent.spawn(on, host) for host in going])

    def fail(self, host: Host, error: str) -> None:
        """Note why `host` goes no further."""
        self.errors.setdefault(host.name, mask(error))

    def connect(self, host: Host) -> None:
        """Connect, and count what is run from here on."""
        try:
            host.connect(raise_exceptions=True, show_errors=False)
        except ConnectError as error:
            raise HostFailedError(f"unreachable: {error}") from error
        self.state.activate_host(host)
        if host.data.get("_sudo_password"):
            raise HostFailedError(
                "_sudo_password would show in the host's list of processes; "
                "name it by reference instead, sudo_password = 'env:NAME'"
            )
        sudo.never_prompt()
        if host_data()["sudo_password"]:
            sudo.prepare(host, resolve(host_data()["sudo_password"]))
        run_shell_command = host.connector.run_shell_command
        self.commands[host.name] = 0

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.commands[host.name] += 1
            return run_shell_command(*args, **kwargs)

        host.connector.run_shell_command = counted  # type: ignore[method-assign]

    def leave(self) -> None:
        """Leave nothing of ours behind, whatever has happened."""
        for host in self.hosts:
            if host.connected:
                with suppress(Exception), ctx_state.use(self.state), ctx_host.use(host):
                    sudo.remove(host)

    def gather(self, host: Host) -> None:
        """Read the state, and nothing else."""
        self.gathered[host.name] = without_verifiers(host_state())
        self.tuned_by[host.name] = {name: host_data()[name] for name in TUNED_BY}

    def ask_how_it_stands(self, host: Host) -> None:
        """Read how the host stands, and nothing else."""
        self.gathered[host.name] = host_standing()

    def states(self) -> list[dict[str, Any]]:
        """Return the state of all hosts asked for."""
        return [
            {
                "host": host.name,
                "error": self.errors.get(host.name),
                "state": self.gathered.get(host.name),
                "tuned_by": self.tuned_by.get(host.name),
            }
            for host in self.hosts
        ]

    def prepare(self, host: Host) -> None:
        """Find out what has to be done."""
        forget_on(host)
        with ctx_config.use(self.state.config.copy()):
            site()
        if host in self.state.failed_hosts:
            raise HostFailedError("a fact could not be gathered")

    def execute(self, host: Host) -> None:
        """Do it, up to the first operation that fails."""
        # Whoever was asked first may have taken his time; whoever was not, has not.
        forget_on(host, older_than_s=_FRESH_S)
        for op_hash in host.op_hash_order:
            tell({"event": "step", "host": host.name, "step": self.name_of(host, op_hash)})
            if not run_host_op(self.state, host, op_hash):
                meta = self.state.get_op_data_for_host(host, op_hash).operation_meta
                lines = [line for line in meta.stderr_lines if line.strip()]
                raise HostFailedError(
                    f"{self.name_of(host, op_hash)}: "
                    + ("; ".join(lines[-4:]) or "it failed and printed nothing")
                )

    def name_of(self, host: Host, op_hash: str) -> str:
        """Return one operation's name on one host."""
        # The hash is only the position, and hosts whose operations differ share it.
        return self.names.get((host.name, op_hash), op_hash)

    @property
    def names(self) -> dict[tuple[str, str], str]:
        """Operations' names by host and hash."""
        return {
            (host.name, op_hash): str(data.global_arguments.get("name") or "")
            for host, ops in self.state.ops.items()
            for op_hash, data in ops.items()
        }

    def shown(self, *, executed: bool) -> list[dict[str, Any]]:
        """Return all hosts asked for, with their steps."""
        return [
            {
                "host": host.name,
                "error": self.errors.get(host.name),
                "commands": self.commands.get(host.name, 0),
                "seconds": self.seconds.get(host.name, 0.0),
                "remarks": remarks(host),
                "steps": [self._step(host, h, executed=executed) for h in host.op_hash_order],
            }
            for host in self.hosts
        ]

    def _step(self, host: Host, op_hash: str, *, executed: bool) -> dict[str, Any]:
        meta = self.state.get_op_data_for_host(host, op_hash).operation_meta
        changed: bool | None = meta._maybe_is_change
        if executed:
            changed = meta.did_change() if meta.is_complete() else None
        return {
            "name": self.name_of(host, op_hash),
            "changed": changed,
            "failed": bool(meta.is_complete() and meta.did_error()),
            "output": mask(meta.stdout) if executed and meta.is_complete() else "",
            "changes": [
                {"what": c.what, "lines": list(c.lines), "effect": c.effect}
                for c in (noted(host, op_hash) if changed else [])
            ],
        }


def forget_on(host: Host, *, older_than_s: float = 0) -> None:
    """Forget what was gathered before that: somebody may have changed it meanwhile."""
    with ctx_host.use(host):
        forget(older_than_s=older_than_s)


def tell(event: dict[str, Any]) -> None:
    """Write one line."""
    print(json.dumps(event), file=_out, flush=True)


# pyinfra and whatever it calls may print; only our lines go to the real standard output.
_out = sys.stdout


def main() -> int:
    """Serve one request."""
    request = json.loads(sys.stdin.readline())
    sys.stdout = sys.stderr
    try:
        run = Run(request)
    except Exception as error:
        # An inventory is a program: it may fail in every way.
        inner = error.__context__ or error
        tell({"event": "invalid", "problem": mask(f"{type(inner).__name__}: {inner}")})
        return 0
    if unmatched := run.unmatched():
        tell({"event": "unmatched", "names": unmatched})
        return 0
    try:
        serve(run, request)
    finally:
        run.leave()
    return 0


def serve(run: Run, request: dict[str, Any]) -> None:
    """Connect, and do what is asked."""
    run.each(StateStage.Connect, run.connect)
    readers = {"states": run.gather, "standings": run.ask_how_it_stands}
    if reader := readers.get(request["action"]):
        run.each(StateStage.Prepare, reader)
        tell({"event": "states", "hosts": run.states()})
        return
    run.each(StateStage.Prepare, run.prepare)
    tell({"event": "plan", "hosts": run.shown(executed=False)})
    if sys.stdin.readline().strip() != "go":
        return
    run.state.is_executing = True
    run.each(StateStage.Execute, run.execute)
    tell({"event": "result", "hosts": run.shown(executed=True)})


if __name__ == "__main__":
    sys.exit(main())
