"""COPY's text format, as a server writes it."""

import psycopg
from psycopg import sql

from backups.copy_text import fields_of, rows_of
from casedb.conninfo import Conninfo

VALUES = (None, "", "a\tb", "a\nb", "a\rb", "a\\b", "\\.", "\\N", "\N{SNOWMAN}", "plain")


def test_what_a_server_wrote_is_split_and_put_together(small: Conninfo) -> None:
    with psycopg.connect(small.dsn) as connection:
        connection.execute("CREATE TEMP TABLE t (a text, b text)")
        for a, b in zip(VALUES, reversed(VALUES), strict=True):
            connection.execute("INSERT INTO t VALUES (%s, %s)", (a, b))
        with connection.cursor().copy("COPY t TO STDOUT") as copy:
            data = b"".join(copy)
        rows = list(fields_of(data))
        assert [len(row) for row in rows] == [2] * len(VALUES)
        assert rows_of(rows) == data

        # In the other order they are the same values.
        connection.execute("CREATE TEMP TABLE back (LIKE t)")
        statement = sql.SQL("COPY back (b, a) FROM STDIN")
        with connection.cursor().copy(statement) as copy:
            copy.write(rows_of([b, a] for a, b in rows))
        found = connection.execute("SELECT a, b FROM back").fetchall()
    assert found == list(zip(VALUES, reversed(VALUES), strict=True))


def test_only_the_rows_that_begin_so_early() -> None:
    data = b"1\ta\n22\tb\n3\tc\n"
    assert list(fields_of(data, 4)) == [[b"1", b"a"]]
    assert list(fields_of(data, 5)) == [[b"1", b"a"], [b"22", b"b"]]
    assert list(fields_of(b"", 5)) == []
    assert list(fields_of(b"\n\n")) == [[b""], [b""]]
