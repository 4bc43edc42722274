"""What is in the server: databases, roles, who may do what, passwords, extensions."""

from typing import Any

from pyinfra.api import deploy

from deploy.operations.postgres import access, database, extension, role
from deploy.secrets import resolve
from deploy.statements import Database, Role, plain_role


@deploy("Databases and roles")
def fill(data: dict[str, Any]) -> None:
    """Make each database with its mark, the application's roles, and the access between them."""
    for name, mark in data["databases"].items():
        database(
            name=f"Make database {name}, marked {mark}",
            wish=Database(name, settings={"casedb.mark": mark}),
        )
        access(name=f"Apply sql/roles/ to {name}", database=name)
    for name, wanted in data["roles"].items():
        role(name=f"Make role {name}", wish=plain_role(name, **wanted))
    for name, reference in data["passwords"].items():
        role(
            name=f"Set the password of {name} if it is another",
            wish=Role(name, password=resolve(reference)),
        )


@deploy("Extensions")
def extend(data: dict[str, Any]) -> None:
    """Make each extension in each database."""
    for database_name in data["databases"]:
        for name in data["extensions"]:
            extension(
                name=f"Make extension {name} in {database_name}",
                database=database_name,
                extension_name=name,
            )
