"""Every command keeps the promises that all commands make."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from casedb.cli.main import casedb

ROOT = Path(__file__).parents[2]


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


ALL = sorted(commands(casedb))


def help_of(words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(casedb, [*words, "--help"], prog_name="casedb")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_its_help_ends_in_a_copyable_example_that_fits(words: tuple[str, ...]) -> None:
    text = help_of(words)

    example = text.partition("Example:")[2].partition("\n\n")[0]
    assert f"casedb {' '.join(words)}" in example
    assert max(map(len, text.splitlines())) <= 100


def test_the_list_of_commands_says_what_each_one_does() -> None:
    text = help_of(()).partition("Commands:")[2]

    assert "..." not in text
    assert all(re.search(rf"^  {words[0]} +\S", text, re.M) for words in ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_options_in_its_example_exist(words: tuple[str, ...]) -> None:
    text = help_of(words)
    example = text.partition("Example:")[2].partition("Options:")[0]

    for option in re.findall(r"(?<= )--[a-z][a-z-]*", example):
        assert re.search(rf"^ +(?:-\w, )?{option}\b", text, re.M), option


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_readme_or_the_docs_speak_of_it(words: tuple[str, ...]) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text() for page in pages)

    verb = words[0]
    assert re.search(rf"\b{verb}\b", text)


@pytest.mark.parametrize(
    "words",
    [w for w in ALL if w not in {("down",), ("reset",), ("shell",)}],
    ids=" ".join,
)
def test_what_reports_also_reports_for_machines(words: tuple[str, ...]) -> None:
    assert "--json" in help_of(words)


def test_every_make_target_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"^([a-z-]+):(?!=)", text, re.M)) - {"venv", "venv-dev"}
    told = set(re.findall(r"^([a-z-]+):.*## \S", text, re.M))

    assert named == told


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    text = " ".join(help_of(()).split())

    context = click.Context(casedb)
    for name in casedb.list_commands(context):
        command = casedb.get_command(context, name)
        assert command
        assert f"{name} {command.get_short_help_str(200)}" in text


def test_the_list_of_commands_imports_none_of_them() -> None:
    program = "import sys; from casedb.cli.main import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    imported = done.stdout.splitlines()[-1].split()
    assert not {"psycopg", "rich", "pydantic", "boto3", "casedb.cli.dump"} & set(imported)
