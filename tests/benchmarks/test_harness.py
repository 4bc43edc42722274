"""In which order contestants run."""

from pathlib import Path

from benchmarks.harness import Contestant, Meter, alternate


def test_they_run_in_turns_and_what_is_compared_most_more_often(tmp_path: Path) -> None:
    ran: list[str] = []

    def contestant(name: str) -> Contestant:
        return Contestant(name, "it notes that it ran", lambda _place: ran.append(name))

    arms = alternate(
        [contestant(name) for name in "abcd"],
        rounds=2,
        meter=Meter(),
        again="b",
        often={"b", "c"},
        folder=tmp_path,
    )

    first = ["abbcd", "cbb", "bbc"]
    assert "".join(ran) == "".join([*first, *(turn[::-1] for turn in first)])
    assert {name: len(arm.costs) for name, arm in arms.items()} == {
        "a": 2,
        "b": 6,
        "b (again)": 6,
        "c": 6,
        "d": 2,
    }
