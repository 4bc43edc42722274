"""Secrets by reference: an inventory says where one is, never what it is."""

import os
import shlex
import subprocess
from pathlib import Path


def resolve(reference: str) -> str:
    """Return the first line of the secret that `reference` names, without the line break.

    Raises:
        ValueError: as `resolve_text`, or the line is empty.
    """
    lines = resolve_text(reference).splitlines()
    if not lines or not lines[0]:
        kind, _, rest = reference.partition(":")
        raise ValueError(f"the secret at {kind}:{rest.split()[0] if rest else ''} is empty")
    return lines[0]


def resolve_text(reference: str) -> str:
    """Return all of the secret that `reference` names.

    `file:PATH`, `env:NAME`, or `command:WORDS` (pass show ..., sops -d ..., vault kv get ...).

    Raises:
        ValueError: it cannot be read; says where it was looked for, never what it is.
    """
    kind, _, rest = reference.partition(":")
    if kind == "file":
        path = Path(rest).expanduser()
        try:
            if path.stat().st_mode & 0o077:
                raise ValueError(f"the secret in {path} can be read by others; chmod 600 it")
            text = path.read_text("utf-8")
        except OSError as error:
            raise ValueError(f"the secret in {path} cannot be read: {error.strerror}") from None
    elif kind == "env":
        text = os.environ.get(rest, "")
    elif kind == "command":
        done = subprocess.run(
            shlex.split(rest), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ValueError(f"`{shlex.split(rest)[0]}` gave no secret (exit {done.returncode})")
        text = done.stdout
    else:
        # Not shown: somebody may have written the secret itself.
        raise ValueError("a secret is named by file:PATH, env:NAME or command:WORDS")
    return text
