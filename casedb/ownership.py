"""Whom a file belongs to that was made among another account's files."""

import os
from contextlib import suppress
from pathlib import Path


def give_to_folder_owner(made: int | Path, folder: Path) -> None:
    """Give a file or folder just made in `folder` to whom `folder` belongs.

    An administrator's restore writes its report into the store of the account whose timers go on
    there, and everything of ours is for its owner's eyes alone. Who may not give files away (all
    but root, as a rule) keeps them.
    """
    owner = folder.stat()
    with suppress(OSError):
        if os.stat(made).st_uid != owner.st_uid:
            os.chown(made, owner.st_uid, owner.st_gid)
