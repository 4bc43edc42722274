"""Every bench runs, and measures what its targets are about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench import NAMES, Found, load
from benchmarks.figures import Run
from benchmarks.run import new_run, read_run, run, write_run
from benchmarks.site import NotMeasured, Site
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, ToolFailedError
from casedb.tools import PostgresTools

# make up and the hosts take minutes; tests/acceptance and tests/hosts run them.
TRIED = [name for name in NAMES if name not in ("up", "hosts")]


@pytest.fixture(scope="module")
def site(tools: PostgresTools) -> Iterator[Site]:
    """A site of 500 cases, shared: no bench may leave it another one."""
    with Site(tools, cases=500, rounds=1) as found:
        yield found


@pytest.mark.bench
@pytest.mark.parametrize("name", TRIED)
def test_a_bench_has_a_figure_for_each_of_its_targets(
    name: str, site: Site, tools: PostgresTools, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"

    found = run([name], site, new_run("500 cases", tools), lambda known: write_run(known, path))

    (result,) = found.results
    assert result.problem is None
    assert result.figures
    assert result.unmeasured == ()
    assert read_run(path) == found


@pytest.mark.bench
def test_the_benches_leave_the_cases_as_they_were(site: Site) -> None:
    with connect(site.filled.target, purpose="test") as connection:
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM public.cases), (SELECT count(*) FROM public.case_logs),"
            " (SELECT count(*) FROM pg_database WHERE datname LIKE 'bench_%')"
        ).fetchone()

    assert counted
    assert counted[:2] == (500, site.filled.logs)
    assert counted[2] <= 1


def test_a_bench_that_fails_does_not_stop_the_next_one(
    tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_site: Site) -> Found:
        raise ToolFailedError("the server is gone", detail="It was killed.")

    def elsewhere(_site: Site) -> Found:
        raise NotMeasured("there is no docker here")

    for name, measure in (("dump", broken), ("s3", elsewhere), ("verify", lambda _site: Found())):
        bench = load(name)
        monkeypatch.setattr(
            f"benchmarks.benches.{name}.BENCH",
            type(bench)(bench.name, bench.question, measure, bench.minutes, bench.targets),
        )
    kept: list[Run] = []
    with Site(tools, cases=500, rounds=1) as site:
        found = run(["dump", "s3", "verify"], site, new_run("500 cases", tools), kept.append)

    assert [result.problem for result in found.results] == [
        "the server is gone It was killed.",
        "not measured here: there is no docker here",
        None,
    ]
    assert [len(known.results) for known in kept] == [1, 2, 3]
    assert len(found.results[0].unmeasured) == len(load("dump").targets)


def test_a_database_that_was_given_is_only_read(tools: PostgresTools, database: Conninfo) -> None:
    with Site(tools, cases=500, rounds=1, conninfo=database) as site:
        with pytest.raises(NotMeasured, match="only read"):
            _ = site.own
        assert site.filled.cases == 0


def test_every_bench_says_what_it_answers() -> None:
    for name in NAMES:
        bench = load(name)
        assert bench.name == name
        assert bench.question.endswith("?")
        names = [target.figure for target in bench.targets]
        assert len(names) == len(set(names))


@pytest.mark.bench
def test_a_kept_server_is_used_again_and_for_no_other_scale(
    tools: PostgresTools, tmp_path: Path
) -> None:
    told: list[str] = []
    for _ in range(2):
        told.clear()
        with Site(tools, cases=500, rounds=1, keep=tmp_path / "kept", tell=told.append) as site:
            assert site.filled.cases == 500
            with site.settings({"work_mem": "5MB"}), connect(site.own.admin, purpose="t") as c:
                assert scalar(c, "SHOW work_mem") == "5MB"
                assert scalar(c, "SHOW max_wal_senders") == "4"

    assert "filling case_management: 500 of 500 cases" in told
    assert "filling case_management: 0 of 500 cases" not in told
    with (
        Site(tools, cases=1000, rounds=1, keep=tmp_path / "kept") as site,
        pytest.raises(ConfigurationError, match="keeps a database of 500 cases"),
    ):
        _ = site.filled
