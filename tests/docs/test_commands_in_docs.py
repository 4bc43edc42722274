"""The commands and settings that README and docs name exist, with the options they name."""

import re
import shlex
from pathlib import Path

import click
import pytest

from casedb.cli.main import casedb
from casedb.settings import Values

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_IN_TEXT = re.compile(r"`(casedb [^`\n]+)`")
_IN_BLOCK = re.compile(r"^(?:\$ )?(?:\w+=\S+ )*(casedb [^#\n]+)", re.M)


def named_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S))
        lines = [*_IN_TEXT.findall(text), *_IN_BLOCK.findall(blocks)]
        found += [(page.name, line.strip()) for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize(("page", "line"), named_commands(), ids=" ".join)
def test_a_command_named_in_the_docs_exists(page: str, line: str) -> None:
    words = shlex.split(line.replace("...", "").replace("…", ""))[1:]
    command: click.Command = casedb
    context = click.Context(command)
    while words and isinstance(command, click.Group):
        # `migrate apply|rollback` names several at once; a capital VERB names any.
        names = re.split(r"[|,]", words[0])
        if words[0].startswith("-") or words[0].isupper():
            return
        found = [command.get_command(context, name) for name in names]
        assert all(found), f"{page}: there is no `casedb {words[0]}`"
        words = words[1:]
        assert found[0]
        command = found[0]
    own = words[: words.index("--")] if "--" in words else words
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in own:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{page}: no option {word} in `{line}`"


def test_the_docs_name_commands_at_all() -> None:
    assert len(named_commands()) > 15


def test_every_setting_in_the_example_file_exists_and_every_environment_name_in_the_docs() -> None:
    example = (ROOT / "casedb.toml").read_text()
    text = "\n".join(page.read_text() for page in PAGES)

    in_file = re.findall(r"^# (\w+) = ", example, re.M)
    in_docs = re.findall(r"\bCASEDB_([A-Z_]+)\b", text)

    assert in_file
    assert set(in_file) <= set(Values.model_fields)
    assert {name.lower() for name in in_docs} <= set(Values.model_fields)


def test_every_path_in_the_map_of_the_house_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = text.partition("```")[2].partition("```")[0]
    named = re.findall(r"^(\S+/|\S+\.\w+)(?= )", block, re.M)

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
