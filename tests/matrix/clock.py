"""A process that believes in another time."""

from pathlib import Path

import pytest


def wrong_clock(by: str) -> dict[str, str]:
    """Return the environment in which the clock is wrong `by` so much, such as "+400d"."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt install libfaketime)")
    # Deadlines are measured by the other clock, which no host ever sets.
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
