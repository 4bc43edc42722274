"""The order of a table's columns in which its rows are smallest."""

import random
from itertools import permutations

import pytest

from backups import column_order
from backups.column_order import Written, size_in, smallest_order
from backups.copy_binary import rows_of


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


@pytest.fixture
def rows() -> list[list[bytes]]:
    """Like those of a log: ids that come again for some rows, words that do by chance, hashes."""
    chance = random.Random(7)
    found, case = [], b""
    for _ in range(400):
        if not case or chance.random() < 0.2:
            case = chance.randbytes(16)
        found.append(
            [
                field(chance.randbytes(9)),
                field(case),
                field(chance.choice([b"assigned", b"status_changed", b"created"])),
                field(chance.randbytes(32)),
                field(b"case_seed"),
            ]
        )
    return found


def test_the_order_is_one_of_the_smallest(rows: list[list[bytes]]) -> None:
    order = smallest_order(rows, rows_of)

    sizes = sorted(size_in(each, rows, rows_of) for each in permutations(range(5)))
    assert size_in(order, rows, rows_of) <= sizes[len(sizes) // 10]
    assert size_in(order, rows, rows_of) < size_in(range(5), rows, rows_of)


def test_the_same_rows_give_the_same_order(rows: list[list[bytes]]) -> None:
    assert smallest_order(rows, rows_of) == smallest_order(rows, rows_of)


def test_so_many_orders_are_tried_and_no_more(
    rows: list[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[int]] = []

    def remember(order: list[int], rows: list[list[bytes]], written: Written) -> int:
        tried.append(list(order))
        return size_in(order, rows, written)

    monkeypatch.setattr(column_order, "size_in", remember)
    smallest_order(rows, rows_of, 7)

    assert len(tried) == 1 + 7
    # The largest column first, at every other place.
    assert sorted(order.index(3) for order in tried[1:5]) == [0, 1, 2, 4]


def test_with_nothing_to_gain_it_stays() -> None:
    assert smallest_order([[field(b"a"), field(b"b")]] * 50, rows_of) == [0, 1]
    assert smallest_order([[field(b"alone")]] * 50, rows_of) == [0]
    assert smallest_order([[]] * 3, rows_of) == []
