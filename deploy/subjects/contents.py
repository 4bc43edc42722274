"""What is in the server: databases, roles, who may do what, passwords, extensions."""

from typing import Any

from pyinfra.api import deploy

from deploy.operations.postgres import access, database, extensions, roles
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
    made = [plain_role(name, **wanted) for name, wanted in data["roles"].items()]
    known = [Role(name, password=resolve(where)) for name, where in data["passwords"].items()]
    roles(name="Make further roles, set passwords that are others", wishes=[*made, *known])


@deploy("Extensions")
def extend(data: dict[str, Any]) -> None:
    """Make the extensions in each database."""
    for name in data["databases"]:
        extensions(
            name=f"Make extensions in {name}",
            database=name,
            wanted=dict.fromkeys(data["extensions"], True),
        )
