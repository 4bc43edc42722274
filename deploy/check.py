"""Security controls of a host, judged on its gathered state. Pure: facts in, findings out.

In the spirit of the CIS PostgreSQL Benchmark, whose numbers are not repeated here: each control
names the public page that says why.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from deploy.controls import backups, pgadmin, pooler, server
from deploy.controls.base import Control, Finding

CONTROLS: tuple[Control, ...] = (
    *server.CONTROLS,
    *pooler.CONTROLS,
    *backups.CONTROLS,
    *pgadmin.CONTROLS,
)
_DOCS = "https://www.postgresql.org/docs/current/"


def check(state: Mapping[str, Any], waivers: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each control of such a host; `waivers` are reasons by control.

    Raises:
        ValueError: a waiver of a control that does not exist, or without a reason.
    """
    if unknown := sorted(set(waivers) - {control.name for control in CONTROLS}):
        raise ValueError(f"there is no control {', '.join(unknown)} to waive")
    if empty := sorted(name for name, reason in waivers.items() if not reason.strip()):
        raise ValueError(f"the waiver of {', '.join(empty)} gives no reason")
    findings = []
    for control in CONTROLS:
        if state["kind"] != "database" and not control.everywhere:
            continue
        violations = control.violations(state)
        findings.append(
            Finding(
                control.name,
                control.title,
                not violations,
                "; ".join(violations),
                control.mend,
                urljoin(_DOCS, control.page),
                waivers.get(control.name, ""),
            )
        )
    return findings


def without_verifiers(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with each password verifier replaced by its kind: it need not travel on."""
    server = state.get("server") or {}
    roles = {
        name: {**role, "verifier": _kind(role["verifier"])}
        for name, role in server.get("roles", {}).items()
    }
    return {**state, "server": {**server, "roles": roles}} if server else state


def _kind(verifier: str | None) -> str | None:
    if verifier is None:
        return None
    return "scram-sha-256" if verifier.startswith("SCRAM-SHA-256$") else "md5"
