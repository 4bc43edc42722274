"""What a verb leaves for monitoring, whether it went well or not."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from backups.catalog import catalog
from backups.metrics import StoreState, write_metrics
from backups.stores import open_store
from casedb.errors import CasedbError
from casedb.settings import Settings


@contextmanager
def metrics_after(settings: Settings) -> Iterator[None]:
    """Write the metrics, if the settings name a file for them, when the block ends.

    After a failure too: a damaged backup or a failed drill is what they are for. That they could
    not be written is said, and changes nothing about the work itself.
    """
    try:
        yield
    finally:
        if settings.metrics_path:
            try:
                _write(settings)
            except CasedbError as error:
                click.echo(f"note: {error.message}: {error.detail or ''}", err=True)


def _write(settings: Settings) -> None:
    assert settings.metrics_path is not None
    database = settings.values.database
    states = []
    for url in settings.store_urls:
        store = open_store(url)
        try:
            states.append(StoreState(store.url, database, catalog(store, database)))
        except CasedbError as error:
            # Without a line of its own, an alert on its absence tells.
            click.echo(f"note: no metrics of {store.url}: {error.message}", err=True)
    write_metrics(settings.metrics_path, states)
