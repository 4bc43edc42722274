"""What has changed in a restored database: not rows alone, and undo says what before it swaps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backups import kept
from backups.attempt import Wish
from backups.dump import dump
from backups.manifest import LargeObjects, TableFacts
from backups.remembered import Shape, State, as_setting, changes_since
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from backups.swap import WrittenMeanwhileError
from backups.undo import plan_undo, undo_restore
from casedb.errors import ExitCode, RefusedError
from tests.restore.conftest import Night
from tests.restore.test_replace import kept_settings

NONE = LargeObjects(count=0, hash_sum="0", hash_xor="0")


def found(night: Night, *, with_store: bool = True) -> tuple[str, ...]:
    plan = plan_undo(night.admin, night.name, store=night.store if with_store else None)
    assert plan.changes is not None
    return plan.changes


def test_nothing_has_changed_right_after_a_restore_nor_by_reading(night: Night) -> None:
    report = night.restore()
    night.do("ANALYZE; SELECT count(*) FROM cases")

    assert report.catalog
    assert found(night) == ()


@pytest.mark.parametrize(
    ("statement", "line", "kind"),
    [
        ("CREATE INDEX late ON cases (title)", "index: public.late is new", "index"),
        ("DROP POLICY {policy} ON cases", "policy: public.cases.{policy} is gone", "policy"),
        ("GRANT TRUNCATE ON cases TO case_app", "table: public.cases is not as before", "table"),
    ],
)
def test_a_fact_of_the_catalog_that_changed_is_named_and_has_to_be_confirmed(
    night: Night, statement: str, line: str, kind: str
) -> None:
    night.restore()
    policy = night.ask("SELECT polname FROM pg_policy WHERE polrelid = 'cases'::regclass LIMIT 1")
    night.do(statement.format(policy=policy))

    plan = plan_undo(night.admin, night.name, store=night.store)
    assert plan.changes
    assert line.format(policy=policy) in plan.changes
    assert any("not as before" in c and kind in c for c in found(night, with_store=False))
    with pytest.raises(RefusedError, match="was changed since") as caught:
        undo_restore(night.admin, plan, confirmed=False)
    assert line.format(policy=policy) in str(caught.value.detail)
    report = undo_restore(night.admin, plan, confirmed=True, store=night.store)
    assert report.changes == plan.changes


def test_a_sequence_that_moved_is_named_though_no_row_did(night: Night) -> None:
    night.do("CREATE SEQUENCE tickets START 5")
    manifest = dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    night.restore(Wish(manifest.label, night.name, replace=True))
    assert found(night) == ()

    night.do("SELECT nextval('tickets'), nextval('tickets')")

    assert found(night) == ("sequence public.tickets would have given 5 next and gives 7",)
    assert found(night, with_store=False) == ("sequences: not all stand where they stood",)


@pytest.fixture
def scanned(night: Night) -> Night:
    """The same with a large object, in the live database and in the backup."""
    number = night.ask("SELECT lo_from_bytea(0, 'scan')")
    night.do(f"GRANT SELECT ON LARGE OBJECT {number} TO case_backup")
    manifest = dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    return replace(night, manifest=manifest)


CHANGE = "SELECT lo_put(oid, 0, 'SCAN') FROM pg_largeobject_metadata"


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("SELECT lo_from_bytea(0, 'late')", "there were 1 large objects and are 2"),
        (CHANGE, "the 1 large objects have other content"),
        (
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
            "there were 1 large objects and are 0",
        ),
    ],
)
def test_large_objects_that_changed_are_named_and_have_to_be_confirmed(
    scanned: Night, statement: str, line: str
) -> None:
    scanned.restore()
    assert found(scanned) == ()
    unseen = plan_undo(scanned.admin, scanned.name)

    scanned.do(statement)

    # Also those of whoever writes between the look and the swap.
    with pytest.raises(WrittenMeanwhileError):
        undo_restore(scanned.admin, unseen, confirmed=False)
    plan = plan_undo(scanned.admin, scanned.name, store=scanned.store)
    assert plan.changes == (line,)
    with pytest.raises(RefusedError, match="was changed since") as caught:
        undo_restore(scanned.admin, plan, confirmed=False)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert caught.value.detail == line
    assert undo_restore(scanned.admin, plan, confirmed=True).changes == (line,)
    # And the one that has the name now is watched in its turn.
    assert found(scanned) == ()
    scanned.do(CHANGE)
    assert found(scanned) == ("the 1 large objects have other content",)


def test_a_restore_says_of_large_objects_what_is_in_the_kept_database_only(scanned: Night) -> None:
    scanned.do(CHANGE)

    swap = scanned.restore().swap

    assert swap
    assert swap.not_restored == ("the 1 large objects have other content",)


def test_what_cannot_be_told_of_large_objects_is_said() -> None:
    def held(rows: str, objects: LargeObjects | None) -> State:
        table = TableFacts(
            schema_name="public", name="t", kind="table", rows=1, hash_sum=rows, hash_xor=rows
        )
        return State([table], objects, Shape((), ()))

    one = LargeObjects(count=1, hash_sum="1", hash_xor="1")
    before = as_setting(held("1", one))
    other_row = "every table has as many rows as before, but not all the same"
    unread = "whether the large objects have changed nobody can tell: one of them is beyond 1 GB"

    # One digest is over both, so that it confirms no guess at one of them.
    assert changes_since(before, held("2", one)) == [
        other_row,
        "of 1 large objects nobody can tell whether they changed",
    ]
    assert changes_since(as_setting(held("1", NONE)), held("2", NONE)) == [other_row]
    assert changes_since(before, held("1", None)) == [unread]
    assert changes_since(as_setting(held("1", None)), held("1", None)) == [unread]


def test_a_large_object_beyond_1_gb_does_not_keep_undo_from_looking(night: Night) -> None:
    night.restore()
    night.do("SELECT lo_put(lo_create(0), 1 << 30, 'x')")

    assert found(night) == (
        "whether the large objects have changed nobody can tell: one of them is beyond 1 GB",
    )


def test_the_one_that_was_swapped_back_is_watched_as_well(night: Night) -> None:
    night.restore()
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=False)
    assert found(night) == ()

    night.do("CREATE INDEX late ON cases (title)")

    assert any("index" in line for line in found(night))


def test_what_an_older_casedb_remembered_is_compared_by_rows(night: Night) -> None:
    report = night.restore()
    older = json.loads(kept_settings(night, night.name)[kept.CONTENT])
    del older["catalog"], older["sequences"], older["large_objects"]
    night.do(f"ALTER DATABASE {night.name} SET {kept.CONTENT} = '{json.dumps(older)}'")
    night.do("CREATE INDEX late ON cases (title); SELECT lo_from_bytea(0, 'late')")

    assert found(night) == ()
    without = report.model_dump(exclude={"catalog", "sequence_values"})
    assert type(report).model_validate(without).catalog is None


def test_the_report_of_an_encrypted_backup_names_no_fact_in_clear(
    night: Night, tmp_path: Path
) -> None:
    recipient = new_key(tmp_path / "key")
    store = LocalStore(tmp_path / "sealed")
    sealed = dump(
        night.live.replace(user="case_backup"), store, tools=night.tools, recipients=[recipient]
    )
    encrypted = replace(night, store=store, manifest=sealed)
    keys = read_keys(tmp_path / "key")

    encrypted.restore(keys=keys)

    (record,) = (store.root / night.name / "records").glob("*.restore.json")
    assert "public." not in record.read_text()
    night.do("CREATE INDEX late ON cases (title)")
    assert any("catalog: " in line and "index" in line for line in found(encrypted))


def test_only_the_report_of_this_very_restore_tells() -> None:
    then = Shape(("index: public.a 1", "table: public.t 2"), ("public.s 3",))
    other = Shape(("index: public.b 1",), ("public.s 3",))
    now = State((), NONE, Shape(("table: public.t 9",), ("public.s 4",)))
    before = as_setting(State((), NONE, then))

    assert changes_since(before, now, lambda: (other, then)) == [
        "index: public.a is gone",
        "table: public.t is not as before",
        "sequence public.s would have given 3 next and gives 4",
    ]
    assert changes_since(before, now, lambda: (other,)) == [
        "catalog: index, table not as before",
        "sequences: not all stand where they stood",
    ]
    assert changes_since(before, State((), NONE, then)) == []


def test_kinds_of_facts_that_an_older_casedb_did_not_know_are_not_compared() -> None:
    before = as_setting(State((), NONE, Shape(("table: public.t 1",), ())))
    more = ("cast: (a AS b) 1", "fingerprint: parts 2", "table: public.t 1")
    now = State((), NONE, Shape(more, ()))

    assert changes_since(before, now) == []
    assert changes_since(as_setting(now), State((), NONE, Shape(more[1:], ()))) == [
        "catalog: cast not as before"
    ]
