"""`casedb expire`: delete one backup by its label."""

from datetime import UTC, datetime

import click

from backups.catalog import LATEST, LATEST_DRILLED, not_found
from backups.expire import Expiry, finish, plan_expiry
from backups.expire import expire as delete
from backups.stores import open_store
from backups.tombstones import Tombstone, read_tombstone
from casedb.ages import format_age
from casedb.cli.options import (
    confirm_option,
    json_option,
    keys_of,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import each_store, print_json, size
from casedb.cli.signals import signals_after
from casedb.errors import UsageError
from casedb.settings import Settings


def _one_line(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    # What is no UTF-8 comes as surrogates, which are not printable either.
    if not value.strip() or not value.isprintable():
        raise click.BadParameter("it takes one line of text.")
    return value


@click.command()
@click.argument("label")
@click.option(
    "--reason",
    default="expired by hand",
    show_default=True,
    callback=_one_line,
    help="What its tombstone says.",
)
@confirm_option("the backup's label")
@json_option
@settings_options(store=True)
def expire(settings: Settings, label: str, reason: str, confirm: str | None, as_json: bool) -> None:
    """Delete one backup by its label, whatever the rules keep.

    In every store that has it. For one that `casedb rotate` never takes: from a clock that was
    ahead, damaged and looked into, or with something in it that must not stay. What is deleted is
    gone; a tombstone tells it from one that is missing. The only good one and the newest that
    passed a drill stay. Given again, it removes what a run that was killed left of it.

    \b
    Example:
        casedb expire case_management-20281122T030405Z --reason "the clock was ahead"
    """
    if label in (LATEST, LATEST_DRILLED):
        raise UsageError(
            f'"{label}" is no label: what is deleted has to be named',
            hint="`casedb backups` lists the labels.",
        )
    database, now = settings.values.database, datetime.now(UTC)
    with signals_after(settings, "expire", settings.store_urls) as story:
        planned = _plan(settings, label, now)
        story.label = label
        if planned:
            story.size_bytes = max(expiry.backup.size_bytes for expiry in planned.values())
            require_confirmation(_question(label, planned, now), label, confirm)
        deleted: list[str] = []
        before: dict[str, Tombstone] = {}

        def expire_in(url: str) -> None:
            store = open_store(url)
            if url in planned:
                keys = keys_of(settings, None)
                delete(store, database, label, now=now, reason=reason, keys=keys)
                deleted.append(url)
            elif tombstone := finish(store, database, label):
                before[url] = tombstone

        failure = each_store(settings.store_urls, expire_in)
        if not failure:
            story.tell(f'backup "{label}" is deleted')
        if as_json and (deleted or before):
            found = {"label": label, "reason": reason, "stores": deleted}
            print_json({**found, "expired_before": [*before]})
        elif not as_json:
            for url in deleted:
                click.echo(f"deleted {label} from {url}")
            for url, tombstone in before.items():
                when = f"{tombstone.at:%Y-%m-%d %H:%M} UTC"
                click.echo(f"{label} expired in {url} at {when}: {tombstone.reason}")
        if failure:
            raise failure


def _plan(settings: Settings, label: str, now: datetime) -> dict[str, Expiry]:
    """Return what deleting it means in each store that has it; nothing is deleted yet.

    Raises:
        ConfigurationError: if none has it, and in none it has expired.
    """
    database = settings.values.database
    stores = {url: open_store(url) for url in settings.store_urls}
    labels = {url: store.labels(database) for url, store in stores.items()}
    having = [url for url, found in labels.items() if label in found]
    if not having and not any(read_tombstone(s, database, label) for s in stores.values()):
        url = settings.store_url
        raise not_found(stores[url], database, label, labels[url])
    return {url: plan_expiry(stores[url], database, label, now=now) for url in having}


def _question(label: str, planned: dict[str, Expiry], now: datetime) -> str:
    backup = next(iter(planned.values())).backup
    known = [size(backup.size_bytes)]
    if backup.taken_at:
        known.append(f"taken at {backup.taken_at:%Y-%m-%d %H:%M} UTC")
    if backup.damage:
        known.append(f"damaged: {backup.damage.rstrip('.')}")
    lines = [f'This deletes backup "{label}" ({", ".join(known)}). It cannot be had back.']
    for url, expiry in planned.items():
        left = expiry.newest_left
        age = left and left.age(now)
        newest = f"{left.label}, {format_age(age)} old" if left and age else "none that is good"
        lines.append(f"The newest left in {url}: {newest}.")
    return "\n".join(lines)
