"""Whom a file belongs to that was made among another account's files."""

import os
from contextlib import suppress
from pathlib import Path


def create_for_folder_owner(path: Path, flags: int, mode: int) -> int:
    """Make the file `path`, which must not exist, for whom its folder belongs to.

    Returns a descriptor, opened with `flags` besides. An administrator's restore writes its report
    into the store of the account whose timers go on there, and everything of ours is for its
    owner's eyes alone. A link of that name is no way to another place: it exists.

    Raises:
        OSError: as os.open.
    """
    made = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    owner = path.parent.stat()
    # Who may not give files away (all but root, as a rule) keeps them.
    with suppress(OSError):
        if os.fstat(made).st_uid != owner.st_uid:
            os.fchown(made, owner.st_uid, owner.st_gid)
    return made


def give_to_folder_owner(made: Path) -> None:
    """Give the file or folder `made` to whom its folder belongs; of a link, the link itself."""
    owner = made.parent.stat()
    with suppress(OSError):
        # Whose folder it is could have put a link to something of root's in its place.
        if made.lstat().st_uid != owner.st_uid:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
