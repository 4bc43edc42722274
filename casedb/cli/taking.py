"""One backup, as the settings have it: for dump, and for those that take one on their way."""

from collections.abc import Sequence

from backups.archive_form import ArchiveForm
from backups.dump import dump
from backups.manifest import Manifest
from backups.progress import OnProgress
from backups.stores import Store
from backups.stores.several import SeveralStores
from casedb.conninfo import Conninfo
from casedb.settings import Settings
from casedb.tools import PostgresTools


def form_of(
    settings: Settings,
    *,
    jobs: int | None = None,
    copy_format: str | None = None,
    level: int | None = None,
) -> ArchiveForm:
    """Return how the settings have an archive written, but for what the command line says."""
    values = settings.values
    return ArchiveForm(
        jobs=jobs or values.dump_jobs,
        binary=(copy_format or values.dump_copy_format) != "text",
        compress_level=level or values.dump_compress,
    )


def take_backup(
    settings: Settings,
    target: Conninfo,
    store: Store | SeveralStores,
    *,
    tools: PostgresTools,
    on_progress: OnProgress,
    form: ArchiveForm | None = None,
    recipients: Sequence[str] = (),
) -> Manifest:
    """Take one backup of `target`'s database and return its manifest.

    In the form of the settings and to their recipients, if none are given.

    Raises:
        what `backups.dump.dump` raises.
    """
    return dump(
        target,
        store,
        tools=tools,
        form=form or form_of(settings),
        recipients=recipients or settings.values.recipients,
        chain=settings.chain_dir,
        on_progress=on_progress,
    )
