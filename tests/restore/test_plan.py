"""A plan, of a backup and facts about a server: refusals, notes, steps and an estimate."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backups.catalog import read_backup
from backups.collations import Collations
from backups.manifest import CollationFacts, ExtensionFacts
from casedb.cli.restore_output import print_plan
from tests.restore.conftest import Night
from tests.restore.made_up import GIB, LIVE, SERVER, drilled_backup, messages, planned


def test_nothing_stands_against_an_ordinary_restore(night: Night) -> None:
    plan = planned(night)

    assert plan.refusals == ()
    assert plan.age == timedelta(hours=2)
    assert any("renamed" in step for step in plan.steps)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"is_pooled": True}, "leads through a pooler"),
        ({"is_standby": True}, "is a standby"),
        ({"is_read_only": True}, "is read-only"),
        ({"is_superuser": False}, "only a superuser"),
        ({"free_bytes": 1000}, "too little disk"),
    ],
    ids=str,
)
def test_what_the_server_is_not_fit_for_is_refused(
    night: Night, facts: dict[str, Any], words: str
) -> None:
    assert words in messages(planned(night, replace(SERVER, **facts)))


def test_a_part_has_its_own_need_and_steps(night: Night) -> None:
    small = replace(SERVER, free_bytes=GIB)
    manifest = night.manifest.model_copy(update={"database_size_bytes": 100 * GIB})
    users = tuple(table for table in manifest.tables if table.full_name == "public.users")
    words: dict[str, Any] = {"manifest": manifest, "live": None, "replace": False}

    whole = planned(night, small, **words)
    schema = planned(night, small, **words, part=())
    rows = planned(night, small, **words, part=users)

    assert "too little disk" in messages(whole)
    assert schema.refusals == ()
    assert rows.need_bytes == whole.need_bytes
    assert schema.steps[0].startswith(f"the schema of {night.label} is loaded")
    assert "with the rows of public.users, is loaded" in rows.steps[0]
    assert "the live database differs" in rows.steps[-1]
    assert (whole.part, schema.part, rows.part) == (None, (), ("public.users",))


def test_the_disk_that_is_unknown_is_a_note_and_no_refusal(night: Night) -> None:
    plan = planned(night, replace(SERVER, free_bytes=None))

    assert plan.refusals == ()
    assert any("how much disk" in note for note in plan.notes)


def test_missing_roles_are_named_and_those_that_would_need_a_password(night: Night) -> None:
    plan = planned(night, replace(SERVER, roles=frozenset({"case_owner"})))

    assert "case_app" in messages(plan)
    assert "case_owner" not in plan.missing_roles
    assert "case_app" in plan.roles_to_let_in
    assert "case_clerk" not in plan.roles_to_let_in


def test_missing_extensions_are_refused_and_other_versions_noted(night: Night) -> None:
    extensions = (
        ExtensionFacts(name="pg_trgm", version="1.6"),
        ExtensionFacts(name="postgis", version="3"),
    )
    manifest = night.manifest.model_copy(update={"extensions": extensions})

    plan = planned(night, replace(SERVER, extensions={"pg_trgm": "1.5"}), manifest=manifest)

    assert "postgis" in messages(plan)
    assert "extension pg_trgm was 1.6, here it is 1.5" in plan.notes


def test_several_refusals_are_all_told_of_at_once(night: Night) -> None:
    plan = planned(night, replace(SERVER, is_standby=True, free_bytes=1))

    with pytest.raises(Exception, match="is a standby") as caught:
        plan.require()
    assert "too little disk" in str(caught.value.detail)  # type: ignore[attr-defined]


def test_a_new_name_that_exists_is_refused(night: Night) -> None:
    assert "exists already" in messages(planned(night, replace=False))


def test_the_servers_own_databases_are_not_replaced(night: Night) -> None:
    plan = planned(night, database="postgres", live=replace(LIVE, name="postgres"))

    assert "belongs to the server" in messages(plan)


def test_the_estimate_comes_from_the_nearest_drill_scaled_by_size(night: Night) -> None:
    backup = read_backup(night.store, night.name, night.label)
    drilled = drilled_backup(backup, seconds=10)

    own = planned(night, backup=drilled).estimate
    other = planned(night, drills=[replace(drilled, size_bytes=backup.size_bytes // 2)]).estimate

    assert own
    assert own.seconds == 10
    assert other
    assert other.seconds == pytest.approx(20, rel=0.01)
    assert planned(night).estimate is None


def test_a_drill_that_failed_is_told_of_and_the_newest_that_passed_named(night: Night) -> None:
    backup = read_backup(night.store, night.name, night.label)
    passed = replace(drilled_backup(backup, seconds=1), label="cases-20200101T000000Z")
    drilled = drilled_backup(backup, seconds=1)
    assert drilled.drilled
    report = drilled.drilled.model_copy(
        update={"outcome": "failed", "differences": ("table t has 1 row less",)}
    )

    failed = planned(night, backup=replace(drilled, drilled=report), drills=[passed])

    assert failed.refusals == ()
    (note,) = (n for n in failed.notes if "drill" in n)
    assert "drill failed: table t has 1 row less" in note
    assert passed.label in note
    assert any("never drilled" in note for note in planned(night).notes)


def test_other_versions_of_the_server_and_its_collation_are_noted(night: Night) -> None:
    made = CollationFacts(name="a.german", provider="icu", version="1", actual_version="2")
    manifest = night.manifest.model_copy(update={"collations": (made,)})
    collations = Collations({'"default"': "99.9", "a.german": "1"}, frozenset({"a.gone"}))
    here = replace(SERVER, version="99.1", collations=collations)

    notes = "\n".join(planned(night, here, manifest=manifest).notes)

    assert f"is of PostgreSQL {manifest.server_version}, not 99.1" in notes
    was = manifest.properties.collation_version or "none"
    assert f") had version {was}, here it has 99.9" in notes
    # What its newest rows were accepted in is another order, whatever it was made with.
    assert "collation a.german had version 1 (2 where it was dumped), here it has 1" in notes
    assert "a.gone" not in notes


def test_a_full_disk_is_not_an_unknown_one(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(planned(night, replace(SERVER, free_bytes=0)), "here")

    shown = capsys.readouterr().out
    assert "0 B free" in shown
    assert "unknown free" not in shown
