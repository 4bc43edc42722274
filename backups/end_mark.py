"""What tells the end of some rows in a stream, found without a look at all of them.

It is a token that nobody can guess who has put values into the tables, so often in a row that a
look at a few bytes of each page would meet it: the rows themselves are gone through in strides.
"""

import secrets

_TOKEN_BYTES = 16
"""Twice as long in hexadecimal."""
_STRIDE_BYTES = 4096


class EndMark:
    """A line of one token, again and again.

    >>> mark = EndMark(b"abc", stride=4)
    >>> mark.line
    b'abcabc\\n'
    >>> mark.find(bytearray(b"rows abcabc" + mark.line), 0, 18)
    11
    """

    def __init__(self, token: bytes, stride: int = _STRIDE_BYTES) -> None:
        # Wherever it begins, a stride ends within it with a whole token's length behind.
        times = -(-(stride + len(token) - 1) // len(token))
        self.line = token * times + b"\n"
        """The whole mark."""
        self._stride, self._length = stride, len(token)
        twice = token * 2
        self._turned = {twice[at : at + len(token)] for at in range(len(token))}

    @classmethod
    def random(cls) -> "EndMark":
        """Return one that nobody knows."""
        return cls(secrets.token_hex(_TOKEN_BYTES).encode())

    def find(self, data: bytearray, begin: int, end: int) -> int:
        """Return where the first whole one begins between `begin` and `end`; -1 if none does."""
        for at in range(begin, end - self._length + 1, self._stride):
            if bytes(data[at : at + self._length]) in self._turned:
                found = data.find(self.line, max(begin, at - len(self.line)), end)
                if found >= 0:
                    return found
        return -1


LINE_BYTES = len(EndMark(bytes(2 * _TOKEN_BYTES)).line)
"""How long a random one is."""
