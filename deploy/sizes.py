"""Amounts of memory as PostgreSQL writes them: powers of 1024, in B, kB, MB, GB, TB."""

import re

_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
KB, MB, GB = _UNITS["kB"], _UNITS["MB"], _UNITS["GB"]


def parse_size(text: str) -> int:
    """Return the bytes that `text` says, such as "16GB" or "512 MB"; the case does not matter.

    Raises:
        ValueError: if it is no amount, or has no unit: 16 of what?

    >>> parse_size("1.5GB") == 1536 * MB
    True
    """
    found = _SIZE.fullmatch(text)
    units = {name.lower(): size for name, size in _UNITS.items()}
    if not found or found.group(2).lower() not in units:
        raise ValueError(f'"{text}" is no amount of memory such as 512MB or 16GB')
    return int(float(found.group(1)) * units[found.group(2).lower()])


def format_size(size_bytes: int) -> str:
    """Return `size_bytes` in the largest unit that says it exactly, down to kB.

    >>> format_size(4 * GB), format_size(13797 * KB)
    ('4GB', '13797kB')
    """
    for unit in ("TB", "GB", "MB"):
        if size_bytes and size_bytes % _UNITS[unit] == 0:
            return f"{size_bytes // _UNITS[unit]}{unit}"
    return f"{size_bytes // KB}kB"
