"""Migrations: applied, rolled back and accounted for. yoyo does the work, wrapped once.

runner        apply, rollback and status, under the lock
backend       yoyo's backend, with the mark and the checksums inside each transaction
files         one migration's file: its directives, statements, checksum
statements    what can be said of an SQL text without a server
records       what the database says was applied, and what does not fit it
outside       what ran outside of a transaction: unfinished, invalid, rebuilt
losses        what a migration would throw away
rehearsal     a migration tried and undone: its locks, its rewrites
plan, lint, check, contract, new, repair, errors    one question each
"""

from casedb.migrations.runner import (
    AppliedMigration,
    BeforeDestructive,
    MigrationStatus,
    apply,
    refuse_losses,
    rollback,
    session,
    status,
)

__all__ = [
    "AppliedMigration",
    "BeforeDestructive",
    "MigrationStatus",
    "apply",
    "refuse_losses",
    "rollback",
    "session",
    "status",
]
