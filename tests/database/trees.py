"""A first migration, which a test adds to."""

from pathlib import Path

TREES = (
    "-- Trees.\n"
    "CREATE TABLE public.trees (id bigint, name text, CONSTRAINT trees_pkey PRIMARY KEY (id));\n"
    "CREATE TABLE public.leaves (id bigint, tree bigint,"
    " CONSTRAINT leaves_pkey PRIMARY KEY (id));\n"
    "CREATE INDEX leaves_tree ON public.leaves (tree);\n"
)
UNDO = "DROP TABLE public.leaves; DROP TABLE public.trees;"


def begin(folder: Path) -> Path:
    """Make a folder of migrations with this one, and return it."""
    folder.mkdir()
    write(folder, "0001-create-trees", TREES, UNDO)
    return folder


def write(folder: Path, name: str, text: str, rollback: str | None = None) -> None:
    """Write a migration, or another text for it."""
    (folder / f"{name}.sql").write_text(text)
    if rollback is not None:
        (folder / f"{name}.rollback.sql").write_text(rollback)
