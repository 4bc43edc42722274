"""Who holds the secret key vouches for what he wrote into a store that others can write to as well.

A message authentication code and no signature: whoever can check one can make one. That fits,
because the key lies where backups are drilled and rotated, and nowhere near those who may write.
"""

import hashlib
import hmac

from backups.sealing import Keys

# Its own use of the key, so that no code of another purpose can ever be one of these.
_PURPOSE = b"casedb: this tombstone was written by who holds the key"


def vouch(data: bytes, keys: Keys) -> str:
    """Return the code that says that who holds `keys` wrote `data`; by the first of them."""
    return _code(data, keys.secrets[0])


def is_vouched(data: bytes, code: str, keys: Keys) -> bool:
    """Whether `code` was made of `data` with any of `keys`, so that old ones still count."""
    return any(hmac.compare_digest(_code(data, secret), code) for secret in keys.secrets)


def _code(data: bytes, secret: str) -> str:
    own = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()
    return hmac.new(own, data, hashlib.sha256).hexdigest()
