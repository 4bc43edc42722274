"""The statements of the model, in SQL."""

from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from tests.database.row_security_model import Model
from tests.database.row_security_statements import (
    BACKSTAGE,
    Backstage,
    Comment,
    Delete,
    Erase,
    Form,
    InsertCase,
    InsertEntry,
    Maintain,
    Reassign,
    Select,
    Statement,
    Truncate,
    Update,
    Upsert,
)

_TEXT = {
    "users": "first_name",
    "cases": "title",
    "case_logs": "action",
    "case_documents": "filename",
    "case_comments": "body",
}
_JOINED = {
    "users": "SELECT DISTINCT u.id FROM public.cases AS c"
    " JOIN public.users AS u ON u.id = c.created_by",
    "cases": "SELECT c.id FROM public.users AS u JOIN public.cases AS c ON c.created_by = u.id",
    "case_logs": "SELECT e.id FROM public.cases AS c"
    " JOIN public.case_logs AS e ON e.case_id = c.id",
    "case_documents": "SELECT e.id FROM public.cases AS c"
    " JOIN public.case_documents AS e ON e.case_id = c.id",
    "case_comments": "SELECT e.id FROM public.cases AS c"
    " JOIN public.case_comments AS e ON e.case_id = c.id",
}


_BACKSTAGE: dict[str, LiteralString] = {
    "SELECT": "SELECT FROM {}",
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {} SET {column} = {column}",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
}
# What an INSERT conflicts with, and what it then would change.
_UPSERTS: dict[str, LiteralString] = {
    "users": "INSERT INTO public.users (id, email, password, role, first_name, last_name)"
    " VALUES ({row}, 'new@example.com', 'x', 'CHAIR', 'a', 'b')"
    " ON CONFLICT (id) DO UPDATE SET first_name = 'upserted'",
    "cases": "INSERT INTO public.cases (id, title, description, created_by)"
    " VALUES ({row}, 'new', 'new', {by}) ON CONFLICT (id) DO UPDATE SET title = 'upserted'",
    "case_logs": "INSERT INTO public.case_logs (id, case_id, user_id, action)"
    " VALUES ({row}, {case}, {by}, 'noted') ON CONFLICT (id) DO UPDATE SET action = 'upserted'",
    "case_comments": "INSERT INTO public.case_comments (id, case_id, user_id, body)"
    " VALUES ({row}, {case}, {by}, 'c') ON CONFLICT (id) DO UPDATE SET body = 'upserted'",
    "case_documents": "INSERT INTO public.case_documents"
    " (case_id, filename, s3_key, mime_type, file_size, uploaded_by)"
    " VALUES ({case}, 'f', 'key/' || {row}, 'text/plain', 1, {by})"
    " ON CONFLICT (s3_key) DO UPDATE SET filename = 'upserted'",
}


def run(
    connection: Connection[Any], model: Model, statement: Statement, new_id: UUID
) -> "psycopg.Cursor[Any]":
    """Carry out a statement; the row that it inserts gets the id `new_id`, if it may have one."""
    execute = connection.execute
    match statement:
        case Select(table=table, form=form, number=number, column=column):
            if form is Form.SEARCH and table == "cases":
                # All titles that there are.
                return execute(
                    "SELECT case_id FROM public.find_cases("
                    "'t or x or y or new or upserted', 1000, NULL, NULL)"
                )
            if form is Form.JOIN:
                return execute(_JOINED[table].encode())
            what = sql.SQL("count(id)") if form is Form.COUNT else sql.Identifier(column)
            query = sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier("public", table))
            return execute(query + _where(model, table, form, number))
        case InsertCase(creator=creator, assignee=assignee, status=status):
            return execute(
                "INSERT INTO public.cases"
                " (id, title, description, created_by, assigned_to, status)"
                " VALUES (%s, 't', 'd', %s, %s, %s)",
                (new_id, creator, assignee, status),
            )
        case InsertEntry(table=table, number=number, by=by):
            case = model.nth("cases", number)
            return insert_entry(connection, table, new_id, case, by)
        case Update(table=table, changes=changes, form=form, number=number):
            pairs = [
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value))
                for column, value in changes
            ]
            change = sql.SQL("UPDATE {} SET {}").format(
                sql.Identifier("public", table), sql.SQL(", ").join(pairs)
            )
            return execute(change + _where(model, table, form, number))
        case Delete(table=table, form=form, number=number):
            delete = sql.SQL("DELETE FROM {}").format(sql.Identifier("public", table))
            return execute(delete + _where(model, table, form, number))
        case Comment(number=number):
            case = model.nth("cases", number)
            return execute("SELECT public.comment_on_case(%s, 'c')", (case,))
        case Erase(number=number):
            comment = model.nth("case_comments", number)
            return execute("SELECT public.erase_comment(%s)", (comment,))
        case Reassign(number=number, giver=giver, taker=taker):
            case = model.nth("cases", number)
            return execute("SELECT public.reassign_case(%s, %s, %s)", (case, giver, taker))
        case Maintain(number=number, column=column, value=value):
            name = {"active": "is_active"}.get(column, column)
            return execute(
                sql.SQL("UPDATE public.users SET {} = %s WHERE id = %s").format(
                    sql.Identifier(name)
                ),
                (value, model.nth("users", number)),
            )
        case Truncate(table=table):
            return execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier("public", table)))
        case Upsert():
            return _upsert(connection, model, statement)
        case Backstage(table=table, verb=verb):
            words = _BACKSTAGE[verb]
            return execute(
                sql.SQL(words).format(
                    sql.Identifier(*table.split(".")), column=sql.Identifier(BACKSTAGE[table])
                )
            )


def insert_entry(
    connection: Connection[Any], table: str, row: UUID, case: UUID, who: UUID
) -> "psycopg.Cursor[Any]":
    """Insert one row about a case."""
    if table == "case_logs":
        return connection.execute(
            "INSERT INTO public.case_logs (id, case_id, user_id, action)"
            " VALUES (%s, %s, %s, 'noted')",
            (row, case, who),
        )
    if table == "case_comments":
        return connection.execute(
            "INSERT INTO public.case_comments (id, case_id, user_id, body)"
            " VALUES (%s, %s, %s, 'c')",
            (row, case, who),
        )
    return connection.execute(
        "INSERT INTO public.case_documents"
        " (id, case_id, filename, s3_key, mime_type, file_size, uploaded_by)"
        " VALUES (%s, %s, 'f', %s, 'text/plain', 1, %s)",
        (row, case, f"key/{row}", who),
    )


def _upsert(connection: Connection[Any], model: Model, wanted: Upsert) -> "psycopg.Cursor[Any]":
    words = _UPSERTS[wanted.table]
    if not wanted.update:
        words = words.partition("DO UPDATE")[0] + "DO NOTHING"
    return connection.execute(
        sql.SQL(words).format(
            row=sql.Literal(str(model.nth(wanted.table, wanted.number))),
            case=sql.Literal(model.nth("cases", wanted.number)),
            by=sql.Literal(wanted.by),
        )
    )


def _where(model: Model, table: str, form: Form, number: int) -> sql.Composed:
    if form is Form.ONE:
        row = sql.Literal(model.nth(table, number))
        return sql.SQL(" WHERE id = {}").format(row)
    if form is Form.FILTER:
        return sql.SQL(" WHERE {} <> ''").format(sql.Identifier(_TEXT[table]))
    return sql.Composed([])
