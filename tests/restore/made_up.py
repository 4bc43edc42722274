"""A plan for a real backup, on a server whose facts a test makes up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backups.catalog import Backup, read_backup
from backups.restore_facts import LiveState, ServerState
from backups.restore_plan import RestorePlan, make_plan
from casedb.marks import Mark
from tests.restore.conftest import Night

GIB = 2**30
SERVER = ServerState(
    role="postgres",
    is_superuser=True,
    is_pooled=False,
    version="16.14",
    major=16,
    is_standby=False,
    is_read_only=False,
    bootstrap_superuser="postgres",
    max_wal_size_bytes=GIB,
    roles=frozenset(),
    roles_without_login=frozenset(),
    extensions={"plpgsql": "1.0"},
    databases=frozenset({"postgres"}),
    free_bytes=100 * GIB,
    wal_on_same_disk=True,
)
LIVE = LiveState("cases", GIB, Mark.PRODUCTION, True, (), (), ())


def planned(night: Night, server: ServerState = SERVER, **words: Any) -> RestorePlan:
    """Return a plan for the night's backup, with facts that the test has made up."""
    backup = words.pop("backup", None) or read_backup(night.store, night.name, night.label)
    roles = frozenset(role.name for role in night.manifest.roles)
    given: dict[str, Any] = {
        "store": night.store.url,
        "database": "cases",
        "replace": True,
        "freeze": False,
        "create_roles": False,
        "tools_major": 16,
        "tools_version": "16.14",
        "drills": [],
        "now": night.manifest.started_at + timedelta(hours=2),
        "live": LIVE,
        **words,
    }
    live, manifest = given.pop("live"), given.pop("manifest", night.manifest)
    server = server if server.roles else replace(server, roles=roles)
    server = replace(server, major=night.tools.major)
    given["tools_major"] = night.tools.major if given["tools_major"] == 16 else 99
    return make_plan(backup, manifest, server, live, **given)


def messages(plan: RestorePlan) -> str:
    return "\n".join(f"{r.message} {r.detail} {r.hint}" for r in plan.refusals)


def drilled_backup(backup: Backup, seconds: float) -> Backup:
    from backups.reports import DrillReport

    report = DrillReport(
        label=backup.label,
        outcome="passed",
        at=datetime.now(UTC),
        duration_s=99,
        phases_s={"restore": seconds, "initdb": 50},
        tables=1,
        rows=1,
        sequences=0,
        catalog_rows=1,
        large_objects=0,
        tool_version="0",
        server_version="16.14",
    )
    return replace(backup, drilled=report)
