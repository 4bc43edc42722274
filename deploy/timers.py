"""What runs by itself on a host, and when: its timers, as units of systemd. Pure.

A host of the group `drill` has no server: it takes backups out of the store, restores them for real
and expires them. Where backups are encrypted, it alone has the key and the right to delete; the
database's own host can then neither read nor remove what it wrote.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deploy.conf import SERVICE_USER
from deploy.sandbox import SANDBOX
from deploy.toolkit import COMMAND_FILE, HOME, LOG_FOLDER, METRICS_FOLDER, local_stores

DRILL_GROUP = "drill"
"""The group of an inventory whose hosts drill and rotate, and hold the key."""

SYSTEMD = "/etc/systemd/system"

_CALENDARS = {
    "dump": "daily",
    # After the dumps, whose delay is an hour at most, and one after the other.
    "verify": "*-*-* 03:00:00",
    "drill": "Sun *-*-* 04:00:00",
    "rotate": "*-*-* 05:00:00",
}
VERBS = tuple(_CALENDARS)

_SAYS = {
    "dump": "Take a backup of %I",
    "verify": "Check the newest backup of %I",
    "drill": "Restore the newest backup of %I for real, and compare",
    "rotate": "Delete the expired backups of %I",
}
_WORDS = {
    "dump": "dump",
    "verify": "verify latest",
    "drill": "drill latest --all-stores",
    "rotate": "rotate --apply",
}
# Both need the store for themselves; whoever comes second waits, instead of failing.
_ALONE = ("dump", "rotate")
# What hangs is a failure too, and told of. Drills restore at the pace of the machine.
_LIMITS_H = {"dump": 12, "verify": 12, "drill": 24, "rotate": 2}
# A drill has a server of its own; all others take a few hundred megabytes, however many the rows.
_MEMORY = {"drill": ("50%", "75%")}
_AGES = {"hourly": "3h", "daily": "26h", "weekly": "8d", "monthly": "32d"}
_SELDOM = {*_CALENDARS.values(), "weekly", "monthly"}
_KEPT = frozenset(string.ascii_letters + string.digits + ":_.")


class Kind(StrEnum):
    """What a host is for."""

    DATABASE = "database"
    DRILL = "drill"


@dataclass(frozen=True)
class Timer:
    """One verb on one database, at its times."""

    verb: str
    database: str
    calendar: str
    """As OnCalendar= takes it, in the host's time zone."""

    @property
    def unit(self) -> str:
        """The timer's name."""
        return f"casedb-{self.verb}@{escape(self.database)}.timer"

    @property
    def service(self) -> str:
        """The name of what it starts."""
        return f"casedb-{self.verb}@{escape(self.database)}.service"


def kind_of(groups: Sequence[str]) -> Kind:
    """Return what a host of these groups is for."""
    return Kind.DRILL if DRILL_GROUP in groups else Kind.DATABASE


def wanted(data: Mapping[str, Any], kind: Kind) -> tuple[Timer, ...]:
    """Return the timers of a host, by its data (deploy/defaults.py) and its kind.

    Raises:
        ValueError: an unknown verb, a calendar that is no text, or what must not be on this host.
    """
    asked: Mapping[str, Any] = data["timers"]
    if unknown := sorted(set(asked) - set(VERBS)):
        raise ValueError(
            f"there is no timer for {', '.join(unknown)}; there are {', '.join(VERBS)}"
        )
    for verb, calendar in asked.items():
        if calendar is not None and not (isinstance(calendar, str) and _one_line(calendar)):
            raise ValueError(f"the timer of {verb} is a calendar such as hourly, or None")
    _refuse_key(data, kind)
    if not data["toolkit"]:
        return ()
    possible = _possible(kind, encrypted=is_encrypted(data))
    if wrong := [v for v in VERBS if asked.get(v) is not None and v not in possible]:
        why = (
            "a host of group drill has no server"
            if kind is Kind.DRILL
            else "backups are encrypted, and this host must not have the key"
        )
        raise ValueError(f"no timer of {', '.join(wrong)} here: {why}")
    calendars = {verb: asked.get(verb, _CALENDARS[verb]) for verb in possible}
    return tuple(
        Timer(verb, database, calendar)
        for database in data["databases"]
        for verb, calendar in calendars.items()
        if calendar is not None
    )


def is_encrypted(data: Mapping[str, Any]) -> bool:
    """Whether the host's dumps are encrypted to somebody."""
    return bool(data["toolkit_settings"].get("recipients"))


def age_limits(timers: Sequence[Timer]) -> dict[str, str]:
    """Return the settings that say when a backup or a drill is late, as these timers have it.

    Only of the calendars that have a name; for others the defaults hold, or the inventory.
    """
    names = {"dump": "backup_max_age", "drill": "drill_max_age"}
    return {
        names[timer.verb]: _AGES[timer.calendar]
        for timer in timers
        if timer.verb in names and timer.calendar in _AGES
    }


def units(timers: Sequence[Timer], settings: Mapping[str, Any]) -> dict[str, str | None]:
    """Return every unit file that there may be, with its content, or None if there is to be none.

    `settings` is what the inventory puts into the host's casedb.toml.
    """
    calendars = {timer.verb: timer.calendar for timer in timers}
    found: dict[str, str | None] = {}
    for verb in VERBS:
        there = verb in calendars
        found |= {
            f"{SYSTEMD}/casedb-{verb}@.timer": _timer(verb, calendars[verb]) if there else None,
            f"{SYSTEMD}/casedb-{verb}@.service": _service(verb, settings) if there else None,
            f"{SYSTEMD}/casedb-{verb}-failed@.service": _failed(verb, settings) if there else None,
        }
    return found


def escape(name: str) -> str:
    r"""Return `name` as the instance of a unit: see "String Escaping" in systemd.unit(5).

    >>> escape("case_management"), escape("case-management"), escape(".a/b")
    ('case_management', 'case\\x2dmanagement', '\\x2ea-b')
    """
    return "".join(
        "-" if c == "/" else c if c in _KEPT and (c != "." or at) else _hex(c)
        for at, c in enumerate(name)
    )


def parse_unit(unit: str) -> tuple[str, str]:
    r"""Return verb and database of a timer's unit.

    >>> parse_unit("casedb-dump@case\\x2dmanagement.timer")
    ('dump', 'case-management')
    """
    verb, _, instance = unit.removeprefix("casedb-").removesuffix(".timer").partition("@")
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()),
                   instance.replace("-", "/").encode())  # fmt: skip
    return verb, plain.decode()


def metrics_file(database: str) -> str:
    """Return where the runs about `database` write what node_exporter reads."""
    return f"{METRICS_FOLDER}/{escape(database)}.prom"


def _refuse_key(data: Mapping[str, Any], kind: Kind) -> None:
    has = data["backup_key"] is not None or "key_file" in data["toolkit_settings"]
    if kind is Kind.DATABASE and has and is_encrypted(data):
        raise ValueError(
            "the key of encrypted backups must not lie on the database's own host; "
            f"give it to the hosts of group {DRILL_GROUP}"
        )


def _possible(kind: Kind, *, encrypted: bool) -> tuple[str, ...]:
    if kind is Kind.DRILL:
        return ("verify", "drill", "rotate")
    return ("dump", "verify") if encrypted else VERBS


def _one_line(text: str) -> bool:
    return bool(text.strip()) and not re.search(r"[\x00-\x1f%]", text)


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


_HEAD = "# Written by casedb; a change made here is put back."


def _timer(verb: str, calendar: str) -> str:
    # Many hosts must not fall upon one store at the same second; each keeps its own moment.
    delay = "1h" if calendar in _SELDOM else "5min"
    return f"""\
{_HEAD}
[Unit]
Description={_SAYS[verb]} (casedb, timer)

[Timer]
OnCalendar={calendar}
RandomizedDelaySec={delay}
FixedRandomDelay=true
# What was missed while the machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def _service(verb: str, settings: Mapping[str, Any]) -> str:
    alone = f"/usr/bin/flock --wait 3600 --conflict-exit-code 8 {HOME}/%i.lock "
    high, most = _MEMORY.get(verb, ("25%", "50%"))
    return f"""\
{_HEAD}
[Unit]
Description={_SAYS[verb]} (casedb)
Wants=network-online.target
After=network-online.target postgresql.service
# Also when it was killed, and could not tell of it itself.
OnFailure=casedb-{verb}-failed@%i.service

[Service]
Type=oneshot
ExecStart=:{alone if verb in _ALONE else ""}{COMMAND_FILE} {_WORDS[verb]} --database %I
SyslogIdentifier=casedb-{verb}
TimeoutStartSec={_LIMITS_H[verb]}h
{_account(settings)}
# The server comes first.
Nice=10
CPUWeight=20
IOWeight=20
MemoryHigh={high}
MemoryMax={most}
OOMScoreAdjust=500
{_SANDBOX}"""


def _failed(verb: str, settings: Mapping[str, Any]) -> str:
    return f"""\
{_HEAD}
[Unit]
Description=Tell that {verb} of %I failed (casedb)

[Service]
Type=oneshot
ExecStart=:{COMMAND_FILE} report-failure {verb} --database %I
SyslogIdentifier=casedb-{verb}
TimeoutStartSec=10min
{_account(settings)}
{_SANDBOX}"""


def _account(settings: Mapping[str, Any]) -> str:
    writable = [HOME, LOG_FOLDER, METRICS_FOLDER, *local_stores(settings)]
    lines = [
        f"User={SERVICE_USER}",
        f"Group={SERVICE_USER}",
        # Not /tmp, which may lie in memory: what does not fit there a drill restores here.
        "Environment=TMPDIR=/var/tmp",
        # With "-": where a store's disk is missing, it is casedb that fails, and tells of it.
        *(f'ReadWritePaths="-{path.replace("%", "%%")}"' for path in writable),
    ]
    if "metrics_file" not in settings:
        # One for each database; casedb.toml can only name one.
        lines.append(f"Environment=CASEDB_METRICS_FILE={METRICS_FOLDER}/%i.prom")
    return "\n".join(lines)


# MemoryDenyWriteExecute is missing: the server of a drill compiles queries in memory.
_SANDBOX = f"""\
UMask=0077
CapabilityBoundingSet=
ProtectProc=invisible
{SANDBOX}"""
