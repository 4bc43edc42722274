"""The kernel: huge pages as the settings need them, swapping, promises of memory, limits."""

from typing import Any

from pyinfra.api import deploy

from deploy.machine import Machine
from deploy.operations.kernel import kernel_settings, no_kernel_settings, unit_limits
from deploy.settings import settings


@deploy("Kernel")
def prepare_kernel(machine: Machine, data: dict[str, Any]) -> None:
    """Prepare the kernel for a server that `data` ask for: before it starts, to have the pages."""
    if not data["kernel"]:
        no_kernel_settings(name="Leave the kernel as it is")
        return
    lines = (line for subject in settings(machine, data).values() for line in subject)
    kernel_settings(
        name="Set what the server wants of the kernel",
        settings={line.name: line.value for line in lines},
        chosen=data["sysctl"],
    )
    unit_limits(name="Set the limits of the server's unit")
