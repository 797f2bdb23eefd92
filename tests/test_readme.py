"""What README and docs say must exist: commands, options, files, names."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

import omnial_bench
from omnial_bench.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
MADE_BY_A_RUN = ("RUN/", "demo-run/")


def commands() -> list[str]:
    # Every fence with its language, so that the end of one block is not taken for the beginning of the next.
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [line for language, block in blocks if not language for line in block.splitlines()]
    return [line for line in found if line.startswith("omnial-bench ")]


def test_the_readme_has_commands() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_readme_exist_with_their_options(line: str) -> None:
    _, name, *words = shlex.split(line)
    command: click.Command = getattr(import_module(f"omnial_bench.cli.{COMMANDS[name]}"), name)
    if isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^make (\w+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http", "mailto"))]
    assert [link for link in local if not (page.parent / link).exists() and not link.startswith(MADE_BY_A_RUN)] == []


def test_python_names_of_the_readme_exist() -> None:
    names = re.findall(r"\bob\.(\w+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert names
    assert all(hasattr(omnial_bench, name) for name in names)


def test_modules_that_the_record_of_choices_names_exist() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+(?:/\w+)*\.py)`", text))
    assert named and {name for name in named if not (ROOT / "omnial_bench" / name).is_file()} == set()
