"""`casedb tune`: PostgreSQL settings for a machine, each with its reason."""

import click

from casedb.cli.options import json_option
from casedb.cli.output import print_json, print_table
from casedb.errors import UsageError
from casedb.tools import SUPPORTED_MAJORS
from deploy.machine import Disk, Machine, local_facts, machine_from_facts
from deploy.sizes import MB, format_size, parse_size
from deploy.tuning import Tuning, Workload, as_conf, phase0
from deploy.tuning import tune as tune_machine


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
@click.option("--memory", type=_Size(), help="Memory of the machine (16GB).  [default: this one's]")
@click.option("--cpus", type=click.IntRange(min=1), help="Cores.  [default: this machine's]")
@click.option(
    "--disk",
    type=click.Choice([d.value for d in Disk]),
    help="What the data lie on.  [default: ssd]",
)
@click.option("--wal-free", type=_Size(), help="Free disk for the WAL (50GB).")
@click.option(
    "--workload", type=click.Choice([w.value for w in Workload]), default="oltp", show_default=True
)
@click.option("--connections", type=click.IntRange(min=10), help="Instead of the usual number.")
@click.option(
    "--pg-version",
    type=click.IntRange(SUPPORTED_MAJORS[0], SUPPORTED_MAJORS[-1]),
    default=17,
    show_default=True,
)
@click.option("--preset", type=click.Choice(["phase0"]), help="The six values of the plan instead.")
@click.option("--conf", "as_lines", is_flag=True, help="Print lines of postgresql.conf.")
@json_option
def tune(
    memory: int | None,
    cpus: int | None,
    disk: str | None,
    wal_free: int | None,
    workload: str,
    connections: int | None,
    pg_version: int,
    preset: str | None,
    as_lines: bool,
    as_json: bool,
) -> None:
    """Print PostgreSQL settings for a machine, each with its reason.

    Without options it is this machine, its memory cut to what its control group allows.

    \b
    Example:
        casedb tune --memory 16GB --cpus 4 --disk ssd --workload oltp
    """
    here = local_facts()
    machine = machine_from_facts(
        {
            **here,
            "memory_bytes": memory or here["memory_bytes"],
            "memory_limit_bytes": None if memory else here["memory_limit_bytes"],
            "cpus": cpus or here["cpus"],
            "data_free_bytes": wal_free,
        },
        pg_major=pg_version,
        disk=Disk(disk) if disk else None,
    )
    try:
        tuning = (
            phase0()
            if preset
            else tune_machine(machine, Workload(workload), connections=connections)
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
            }
        )
    elif as_lines:
        click.echo(as_conf(tuning), nl=False)
    else:
        _show(tuning, machine)


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
