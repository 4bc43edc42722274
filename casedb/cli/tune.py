"""`casedb tune`: PostgreSQL settings for a machine, each with its reason."""

from pathlib import Path
from typing import Any

import click

from casedb.cli.options import json_option
from casedb.cli.output import print_json, print_table, progress
from casedb.errors import ServerUnreachableError, UsageError
from casedb.tools import SUPPORTED_MAJORS
from deploy.kernel import huge_pages
from deploy.machine import Disk, Machine, local_facts, machine_from_facts
from deploy.runs import host_states
from deploy.sizes import MB, format_size, parse_size
from deploy.tuning import Tuning, Workload, as_conf, phase0
from deploy.tuning import tune as tune_machine

_HUGE_PAGE_BYTES = 2 * MB
"""What x86 has and 64-bit ARM usually; a host's own size is found when it is set up."""


class _Size(click.ParamType[int]):
    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("host", required=False)
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    help="The inventory that has HOST.",
)
@click.option("--memory", type=_Size(), help="Memory of the machine (16GB).  [default: this one's]")
@click.option("--cpus", type=click.IntRange(min=1), help="Cores.  [default: this machine's]")
@click.option(
    "--disk",
    type=click.Choice([d.value for d in Disk]),
    help="What the data lie on.  [default: ssd]",
)
@click.option("--wal-disk", type=_Size(), help="The disk that the WAL lies on (200GB).")
@click.option(
    "--workload",
    type=click.Choice([w.value for w in Workload]),
    help="What the server mostly does.  [default: oltp]",
)
@click.option("--connections", type=click.IntRange(min=10), help="Instead of the usual number.")
@click.option(
    "--pg-version",
    type=click.IntRange(SUPPORTED_MAJORS[0], SUPPORTED_MAJORS[-1]),
    help="PostgreSQL's major version.  [default: 17]",
)
@click.option("--preset", type=click.Choice(["phase0"]), help="The six values of the plan instead.")
@click.option("--conf", "as_lines", is_flag=True, help="Print lines of postgresql.conf.")
@json_option
def tune(
    host: str | None,
    inventory: Path | None,
    as_lines: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Print PostgreSQL settings for a machine, each with its reason.

    Without options it is this machine, its memory cut to what its control group allows. HOST is
    one of the inventory, with its own facts and what the inventory says of its workload and disk.
    Options take the place of what was found.

    \b
    Example:
        casedb tune --memory 16GB --cpus 4 --disk ssd --workload oltp
        casedb tune db1 --inventory inventories/staging.py
    """
    if (host is None) != (inventory is None):
        raise UsageError("HOST and --inventory go together")
    found = _host(host, inventory) if host and inventory else _here()
    chosen = {**found, **{k: v for k, v in options.items() if v is not None}}
    machine = _machine(chosen, memory=options["memory"])
    workload = str(chosen["workload"])
    try:
        tuning = (
            phase0()
            if chosen["preset"]
            else tune_machine(machine, Workload(workload), connections=chosen["connections"])
        )
    except ValueError as error:
        raise UsageError("no settings for this machine", detail=f"{error}.") from None
    if as_json:
        print_json(
            {
                "machine": machine,
                "workload": workload,
                "settings": [*tuning.settings],
                "worst_case_bytes": tuning.worst_case_bytes,
                "usable_bytes": tuning.usable_bytes,
                "nr_hugepages": huge_pages(tuning.values, page_bytes=_HUGE_PAGE_BYTES),
            }
        )
    elif as_lines:
        click.echo(as_conf(tuning), nl=False)
    else:
        _show(tuning, machine)


def _here() -> dict[str, Any]:
    """Return what decides the tuning, found on this machine."""
    return {
        "facts": local_facts(),
        "workload": "oltp",
        "disk": None,
        "connections": None,
        "preset": None,
        "pg_version": 17,
    }


def _host(name: str, inventory: Path) -> dict[str, Any]:
    """Return the same, found on a host and in its inventory."""
    with progress("tune") as tell:
        found = host_states(inventory, limit=[name], tell=tell)
    if len(found) != 1:
        raise UsageError(f"{name} is a group of {len(found)} hosts", hint="Name one of them.")
    (about,) = found
    if about.state is None or about.tuned_by is None:
        raise ServerUnreachableError(f"{name} could not be asked", detail=f"{about.error}.")
    facts, data = about.state["machine"], about.tuned_by
    return {
        "facts": facts,
        "workload": data["workload"],
        "disk": data["disk"],
        "connections": data["max_connections"],
        "preset": data["tuning_preset"],
        "pg_version": about.state["major"],
    }


def _machine(chosen: dict[str, Any], *, memory: int | None) -> Machine:
    facts = dict(chosen["facts"])
    if memory:
        facts |= {"memory_bytes": memory, "memory_limit_bytes": None}
    facts["cpus"] = chosen.get("cpus", facts["cpus"])
    facts["data_disk_bytes"] = chosen.get("wal_disk", facts["data_disk_bytes"])
    disk = Disk(chosen["disk"]) if chosen["disk"] else None
    return machine_from_facts(facts, pg_major=int(chosen["pg_version"]), disk=disk)


def _show(tuning: Tuning, machine: Machine) -> None:
    rows = [
        (s.name, s.value, (s.pgtune or "-") if s.differs else "same", f"{s.reason} ({s.formula})")
        for s in tuning.settings
    ]
    print_table(["setting", "value", "pgtune", "why"], rows)
    worst = tuning.worst_case_bytes
    click.echo(
        f"\nmemory {format_size(tuning.usable_bytes)}, cores {machine.cpus}, disk {machine.disk}; "
        f"at worst, everything at its most at once: {format_size(worst // MB * MB)}"
        + (", which is more than there is" if worst > tuning.usable_bytes else "")
    )
    if pages := huge_pages(tuning.values, page_bytes=_HUGE_PAGE_BYTES):
        click.echo(
            f"huge_pages finds none that the kernel does not reserve: vm.nr_hugepages = {pages} "
            f"(of {format_size(_HUGE_PAGE_BYTES)} each),\nwhich `casedb host apply` sees to"
        )
