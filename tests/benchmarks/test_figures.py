"""What may be claimed of what was measured."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.bench import at_least, at_most
from benchmarks.earlier import read_page
from benchmarks.figures import (
    Arm,
    Cost,
    Figure,
    Machine,
    Result,
    Run,
    Verdict,
    ratio_figure,
    self_noise,
)
from benchmarks.page import PAGE, render
from benchmarks.rounds import half_range, percentile
from benchmarks.run import carried_on, read_run, write_run
from casedb.errors import ConfigurationError

NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)


def arm(name: str, *seconds: float) -> Arm:
    return Arm(name=name, what="something", costs=tuple(Cost(wall_s=s) for s in seconds))


def a_run(scale: str = "medium", *results: Result) -> Run:
    machine = Machine(cpus=2, cpu_model="x", memory_bytes=1 << 30, system="Debian")
    return Run(started=NOON, scale=scale, machine=machine, postgres="15.18", results=results)


def a_result(bench: str, *figures: Figure, problem: str | None = None) -> Result:
    return Result(
        bench=bench,
        question="How fast?",
        code="0.1",
        at=NOON,
        rounds=3,
        took_s=60,
        targets=(at_most("share", 0.7),),
        figures=figures,
        problem=problem,
    )


def test_a_machine_that_slows_down_for_a_round_does_not_move_a_ratio() -> None:
    plan, ours = arm("plan", 10, 30, 10), arm("ours", 2, 6, 2)

    figure = ratio_figure("faster", plan, ours)

    assert figure.value == 5
    assert figure.noise == 0
    # The median of each arm by itself would have been the same here; the spread would not.
    assert plan.spread == 1


def test_a_figure_nearer_to_its_target_than_the_noise_is_not_claimed() -> None:
    near = Figure(name="share", value=0.68, noise=0.05, target=at_most("share", 0.7))
    far = Figure(name="share", value=0.5, noise=0.05, target=at_most("share", 0.7))

    assert (near.verdict, near.says) == (Verdict.MET, "met, within the noise")
    assert (far.verdict, far.says) == (Verdict.MET, "met")


def test_one_round_is_never_clear() -> None:
    figure = ratio_figure(
        "faster", arm("plan", 10), arm("ours", 1), targets=[at_least("faster", 5.5)]
    )

    assert figure.noise is None
    assert figure.says == "met, by one round"


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [
        (0.7, at_most("f", 0.7), Verdict.MET),
        (0.71, at_most("f", 0.7), Verdict.MISSED),
        (5.5, at_least("f", 5.5), Verdict.MET),
        (5.4, at_least("f", 5.5), Verdict.MISSED),
        (5.4, None, Verdict.REPORTED),
    ],
)
def test_a_target_is_met_at_its_limit_and_missed_behind_it(
    value: float, target: object, verdict: Verdict
) -> None:
    figure = Figure.model_validate({"name": "f", "value": value, "target": target})

    assert figure.verdict is verdict


def test_what_ran_several_times_a_round_is_compared_by_its_middle_one() -> None:
    plan, ours = arm("plan", 10, 20), arm("ours", 1, 2, 9, 3, 4, 1)

    figure = ratio_figure("faster", plan, ours)

    assert figure.value == pytest.approx((10 / 2 + 20 / 3) / 2)


@pytest.mark.parametrize(("rounds", "left_out"), [(3, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2)])
def test_of_many_rounds_the_farthest_do_not_count_as_noise(rounds: int, left_out: int) -> None:
    """The intervals of the sign test by 95 %, as its tables have them."""
    numbers = [float(2**n) for n in range(rounds)]

    assert half_range(numbers) == (numbers[-1 - left_out] - numbers[left_out]) / 2


def test_a_contestant_that_differs_from_itself_sets_the_noise_of_all_others() -> None:
    floor = self_noise(arm("bare", 10, 10, 10), arm("bare (again)", 12, 12, 12))

    figure = ratio_figure("faster", arm("plan", 20, 20, 20), arm("ours", 10, 10, 10), floor=floor)

    assert floor == pytest.approx(0.2)
    assert figure.noise == pytest.approx(0.4)


def test_a_surplus_in_percent_has_its_noise_in_percent() -> None:
    figure = ratio_figure(
        "adds", arm("dump", 12, 13, 14), arm("bare", 10, 10, 10), percent_more=True
    )

    assert figure.value == pytest.approx(30)
    assert figure.noise == pytest.approx(10)


def test_the_p95_of_twenty_is_the_nineteenth() -> None:
    assert percentile([float(n) for n in range(1, 21)], 0.95) == 19


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    figure = ratio_figure("share", arm("a", 1, 2), arm("b", 2, 2), targets=[at_most("share", 0.7)])
    found = a_run("medium", a_result("dump", figure))

    write_run(found, tmp_path / "run.json")

    assert read_run(tmp_path / "run.json") == found


def test_a_bench_that_ran_again_replaces_its_own_result_and_no_other() -> None:
    old = a_run("medium", a_result("dump", problem="broken"), a_result("verify"))

    new = old.with_result(a_result("dump"))

    assert {result.bench: result.problem for result in new.results} == {
        "dump": None,
        "verify": None,
    }


def test_figures_of_another_scale_are_not_mixed_in(tmp_path: Path) -> None:
    write_run(a_run("small"), tmp_path / "run.json")

    with pytest.raises(ConfigurationError, match="another scale"):
        carried_on(tmp_path / "run.json", a_run("medium"))


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")

    with pytest.raises(ConfigurationError, match="is not what"):
        read_run(tmp_path / "run.json")


def test_the_page_marks_what_is_met_missed_and_not_measured() -> None:
    target = at_most("share", 0.7)
    found = a_run(
        "medium",
        a_result("verify", Figure(name="share", value=0.5, noise=0.01, target=target)),
        a_result("restore", Figure(name="share", value=0.9, noise=0.01, target=target)),
        a_result("s3", problem="there is no docker here"),
    )

    page = render(found, limits={"share": "The disk."})

    assert "| verify | share | 0.50 | 0.01 | at most 0.70 | met |" in page
    assert "| restore | share | 0.90 | 0.01 | at most 0.70 | **missed** |" in page
    assert "| s3 | share | | | at most 0.70 | **not measured** |" in page
    assert "- **share**: The disk." in page
    assert "`s3` was not measured: there is no docker here" in page


def test_a_miss_that_nobody_has_explained_says_so() -> None:
    missed = Figure(name="share", value=0.9, target=at_most("share", 0.7))

    assert "not yet explained" in render(a_run("medium", a_result("restore", missed)))


def test_the_page_shows_other_scales_side_by_side() -> None:
    small, large = (
        a_run(scale, a_result("dump", Figure(name="share", value=value)))
        for scale, value in (("small", 0.5), ("large", 0.6))
    )

    page = render(small, [large])

    assert "| bench | figure | small | large |" in page
    assert "| dump | share | 0.50 | 0.60 |" in page


def test_a_figure_of_one_scale_alone_is_not_compared_with_others() -> None:
    small = a_run("small", a_result("dump", Figure(name="share", value=0.5)))
    seeded = a_result("seed", Figure(name="speed", value=0.8))
    large = a_run("large", *small.results, seeded)

    page = render(large, [small])

    assert "| dump | share | 0.50 | 0.50 |" in page
    assert "| seed | speed |" not in page.partition("## At other scales")[2]


def test_what_was_not_measured_again_stays_on_the_page() -> None:
    target = at_most("share", 0.7)
    figures = {
        "dump": Figure(name="share", value=0.9, noise=0.01, target=target),
        "restore": Figure(name="share", value=0.8, noise=0.2, target=target),
        "verify": Figure(name="speed", value=0.5),
    }
    results = [a_result(name, figure) for name, figure in figures.items()]
    runs = [a_run(scale, *results) for scale in ("medium", "small")]
    whole = render(runs[0], runs[1:])
    again = [
        a_run(
            run.scale, a_result("dump", Figure(name="share", value=0.6, noise=0.01, target=target))
        )
        for run in runs
    ]

    page = render(again[0], again[1:], earlier=read_page(whole, ["dump"]))

    assert "| dump | share | 0.90 |" in whole
    expected = whole.replace(
        "| dump | share | 0.90 | 0.01 | at most 0.70 | **missed** |",
        "| dump | share | 0.60 | 0.01 | at most 0.70 | met |",
    )
    expected = expected.replace("| dump | share | 0.90 | 0.90 |", "| dump | share | 0.60 | 0.60 |")
    # Of the two that had missed, one is left.
    expected = expected.replace("- **share**: not yet explained.\n", "", 1)
    assert page == expected
    assert page.count("not yet explained") == 1
    # And of one scale, the table of all stays as it is but for what is new.
    alone = render(again[0], earlier=read_page(whole, ["dump"]))
    assert "| restore | share | 0.80 | 0.80 |" in alone
    assert "| dump | share | 0.60 |" not in alone.partition("## At other scales")[2]
    # What was measured at a further scale is a column more, and changes nothing else.
    further = a_run("large", a_result("dump", Figure(name="share", value=0.7)))
    more = render(again[0], [further], earlier=read_page(whole, ["dump"]))
    assert "| bench | figure | medium | small | large |" in more
    assert "| restore | share | 0.80 | 0.80 |  |" in more
    assert "| dump | share | 0.60 |  | 0.70 |" in more


def test_the_page_as_it_is_stays_where_nothing_was_measured() -> None:
    page = PAGE.read_text("utf-8")

    again = render(a_run("medium"), earlier=read_page(page, []))

    def parts(text: str) -> dict[str, str]:
        found = (part.partition("\n") for part in text.split("\n## ")[1:])
        return {title: rest.strip() for title, _, rest in found}

    # What is told of the run itself, and what limits it, are not the benches'.
    new = {"What was measured", "What limits those that are missed"}
    found, expected = parts(again), parts(page)
    assert set(found) == set(expected)
    assert {name for name in found if found[name] != expected[name]} <= new
    assert len(found) > 10
