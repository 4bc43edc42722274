"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5802, RFC 7677; scram-common.c).

Computed here, so that no plaintext travels to a server; recomputed with the stored salt, so that a
password that is right already is left alone.
"""

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from functools import cache

ITERATIONS = 4096
"""PostgreSQL's own number (scram_iterations since 16)."""

_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>\d+):(?P<salt>[A-Za-z0-9+/=]+)"
    r"\$(?P<stored>[A-Za-z0-9+/=]+):(?P<server>[A-Za-z0-9+/=]+)"
)


def new_verifier(password: str) -> str:
    """Return a verifier of `password` with a salt of its own."""
    return _verifier(password, os.urandom(16), ITERATIONS)


def matches(password: str, stored: str | None) -> bool:
    """Whether the verifier `stored` is one of `password`; an md5 one never is."""
    found = _VERIFIER.fullmatch(stored or "")
    if not found:
        return False
    salt = base64.b64decode(found["salt"])
    again = _verifier(password, salt, int(found["iterations"]))
    return hmac.compare_digest(again, found.group())


@cache
def _verifier(password: str, salt: bytes, iterations: int) -> str:
    # Cached: thousands of rounds, asked for at plan and again at apply.
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{shown[0]}${shown[1]}:{shown[2]}"


def saslprep(password: str) -> bytes:
    """Return the bytes that are hashed: prepared as RFC 4013 says, or as they are if that forbids.

    PostgreSQL does the same (pg_saslprep): a password that cannot be prepared is used unprepared.
    """
    raw = password.encode()
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    if not prepared or any(test(c) for c in prepared for test in forbidden):
        return raw
    # Text that runs from right to left has to do so at both ends, and altogether.
    if any(map(stringprep.in_table_d1, prepared)) and not (
        stringprep.in_table_d1(prepared[0])
        and stringprep.in_table_d1(prepared[-1])
        and not any(map(stringprep.in_table_d2, prepared))
    ):
        return raw
    return prepared.encode()
