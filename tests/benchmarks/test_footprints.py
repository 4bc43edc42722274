"""Every verb that meets all rows is measured, and what grows misses its target."""

from collections.abc import Iterator
from typing import Any, cast

import click
import pytest

from benchmarks.benches import memory
from benchmarks.benches.memory import (
    BACK_GROWS,
    DUMP_GROWS,
    FAR_GROWS,
    GROWS,
    SERVER,
    growths,
)
from benchmarks.figures import Verdict
from benchmarks.footprints import LEFT_OUT, RUNS, RUNS_FAR, SEED, middle
from benchmarks.peaks import Peaks
from casedb.cli.main import casedb

FAR = {run.name: Peaks(200, 0) for run in RUNS_FAR}
NEAR = {run.name: Peaks(60, 70) for run in (*RUNS, SEED)}


def verbs() -> Iterator[str]:
    """Yield every command, one of a group with the group's name before it."""
    context = click.Context(casedb)
    for name in casedb.list_commands(context):
        command = casedb.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {below}" for below in command.list_commands(context))
        else:
            yield name


def test_every_verb_is_measured_or_left_out_for_a_reason() -> None:
    measured = [f"{run.words} " for run in (*RUNS, *RUNS_FAR, SEED)]

    left_out = {verb for verb in verbs() if verb in LEFT_OUT or verb.split()[0] in LEFT_OUT}
    run = {verb for verb in verbs() if any(words.startswith(f"{verb} ") for words in measured)}

    assert left_out | run == set(verbs())
    assert not left_out & run
    assert all(LEFT_OUT.values())
    assert {verb.split()[0] for verb in LEFT_OUT} <= set(
        casedb.list_commands(click.Context(casedb))
    )


def test_a_figure_has_a_name_of_its_own() -> None:
    names = [run.name for run in (*RUNS, *RUNS_FAR, SEED)]

    assert len(names) == len(set(names))


def test_the_command_that_grows_most_is_named_and_misses_the_target() -> None:
    large = {**NEAR, "restore, swapped": Peaks(93, 70), "dump": Peaks(91, 0)}

    most, *others = growths(large, NEAR, {**NEAR, **FAR}, FAR, 500)

    assert (most.name, most.value, most.note) == (GROWS, 33, "restore, swapped")
    assert most.verdict is Verdict.MISSED
    assert [figure.name for figure in others] == [
        DUMP_GROWS,
        SERVER,
        FAR_GROWS,
        BACK_GROWS,
    ]
    assert {figure.verdict for figure in others} == {Verdict.MET}


@pytest.mark.parametrize(
    ("grown", "missed"),
    [("dump to S3", FAR_GROWS), ("verify from S3", BACK_GROWS), ("restore from S3", BACK_GROWS)],
)
def test_what_goes_to_s3_and_back_is_held_against_half_of_the_rows(grown: str, missed: str) -> None:
    far = {**FAR, grown: Peaks(233, 0)}

    found = list(growths(NEAR, NEAR, {**NEAR, **FAR}, far, 500))

    assert [f.name for f in found if f.verdict is Verdict.MISSED] == [missed]


def test_of_several_turns_the_middle_one_counts() -> None:
    assert middle([Peaks(133, 1), Peaks(173, 2), Peaks(165, 3)]) == Peaks(165, 3)
    assert all(run.turns % 2 for run in (*RUNS, *RUNS_FAR, SEED))


@pytest.mark.parametrize("grown", ["dump", "dump --jobs 2"])
def test_a_dump_is_held_against_half_of_the_rows(grown: str) -> None:
    large = {**NEAR, grown: Peaks(93, 0)}

    found = list(growths(large, NEAR, {**NEAR, **FAR}, FAR, 500))

    assert [f.name for f in found if f.verdict is Verdict.MISSED] == [DUMP_GROWS]


@pytest.mark.parametrize(("taken_mb", "missed"), [(128, []), (129, [SERVER])])
def test_a_process_of_a_drills_server_may_take_twice_what_sorting_may(
    taken_mb: int, missed: list[str]
) -> None:
    large = {**NEAR, "drill": Peaks(60, taken_mb)}

    found = growths(large, NEAR, NEAR, {}, 500)

    assert [f.name for f in found if f.verdict is Verdict.MISSED] == missed


def test_without_docker_s3_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "why_no_ceph", lambda: "there is no docker here")

    nobody = cast("Any", None)
    assert memory.far_from(nobody, nobody, "half") == {}
    found = [figure.name for figure in growths(NEAR, NEAR, NEAR, {}, 500)]

    assert found == [GROWS, DUMP_GROWS, SERVER]
    assert {target.figure for target in memory.BENCH.targets} > set(found)
