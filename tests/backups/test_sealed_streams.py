"""Streams that are encrypted and decrypted as they flow, whoever stops half-way."""

import io
import os
import time
from pathlib import Path

import pytest

from backups.sealing import UnsealError, new_key, read_keys, seal, unsealed
from backups.streams import HashingWriter


def test_a_large_stream_comes_back_and_a_cut_one_does_not(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key")
    keys = read_keys(tmp_path / "key")
    data = os.urandom(3 << 20)
    sink = io.BytesIO()
    seal(io.BytesIO(data), HashingWriter(sink), [public])
    stored = sink.getvalue()

    with unsealed(io.BytesIO(stored), keys) as clear:
        assert b"".join(iter(lambda: clear.read(1000), b"")) == data
    for cut in (len(stored) - 1, len(stored) // 2, 100):
        with unsealed(io.BytesIO(stored[:cut]), keys) as clear, pytest.raises(UnsealError):
            list(iter(lambda: clear.read(1 << 16), b""))


def test_who_stops_reading_half_way_waits_for_nothing(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key")
    sink = io.BytesIO()
    seal(io.BytesIO(os.urandom(3 << 20)), HashingWriter(sink), [public])

    with unsealed(io.BytesIO(sink.getvalue()), read_keys(tmp_path / "key")) as clear:
        assert len(clear.read(10)) == 10


def test_what_is_left_to_write_for_who_has_gone_is_nobodys_failure(tmp_path: Path) -> None:
    class Late(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.1)  # until the reader has gone
            return super().read(size)

    public = new_key(tmp_path / "key")
    sink = io.BytesIO()
    seal(io.BytesIO(b"less than a buffer"), HashingWriter(sink), [public])
    source = Late(sink.getvalue())

    with unsealed(source, read_keys(tmp_path / "key")):
        pass  # a failure of the thread fails this test

    assert source.tell() == len(sink.getvalue())


def test_what_fails_while_writing_is_told_as_it_was(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    public = new_key(tmp_path / "key")

    with pytest.raises(OSError, match="No space left"):
        seal(io.BytesIO(b"x" * (1 << 20)), HashingWriter(Full()), [public])
