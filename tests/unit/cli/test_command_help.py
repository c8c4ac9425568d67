"""The help of each command has an example that its own parser takes."""

import os
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Final
from unittest.mock import patch

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from gengui_stream.cli.app import PANELS, command_line
from gengui_stream.roles import ROLES

APP: Final = command_line()


def commands(group: TyperGroup, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that does something by itself."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*above, name))
        else:
            yield *above, name


@cache
def root() -> TyperGroup:
    """Typer makes every parameter of every command from its function at each call."""
    group = typer.main.get_command(APP)
    assert isinstance(group, TyperGroup)
    return group


@cache
def help_of(words: tuple[str, ...]) -> str:
    """As a terminal of 100 columns shows it."""
    with redirect_stdout(StringIO()) as printed, patch.dict(os.environ, COLUMNS="100"):
        assert root().main([*words, "--help"], "gengui-stream", standalone_mode=False) == 0
    return printed.getvalue()


def examples(words: tuple[str, ...]) -> list[list[str]]:
    """The printed help lines that begin with the name of the program, without that name."""
    lines = map(str.strip, help_of(words).splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("gengui-stream ")]


def parse(arguments: list[str]) -> tuple[str, ...]:
    """The words of the command that the arguments name, whose own arguments are all taken. Raises what click raises."""
    command: object = root()
    words: list[str] = []
    while isinstance(command, TyperGroup):
        context = command.make_context("", [], resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
        words.append(str(name))
    assert isinstance(command, TyperCommand)
    command.make_context(words[-1], arguments)
    return tuple(words)


@pytest.mark.parametrize("words", list(commands(root())), ids=" ".join)
def test_its_help_has_an_example_that_it_takes(words: tuple[str, ...]) -> None:
    shown = examples(words)
    assert shown
    assert {parse(example) for example in shown} == {words}


def test_every_command_that_reports_something_takes_json() -> None:
    """As the README has it: not the processes, what prints JSON anyway, and what prints a single word."""
    silent = {(name,) for name in PANELS["Processes"]} | {("dev",), ("dead-letters", "export"), ("accounts", "new-key")}
    for words in commands(root()):
        assert ("--json" in help_of(words)) is (words not in silent), words


def test_each_role_has_its_command() -> None:
    assert list(PANELS["Processes"]) == list(dict.fromkeys(role.arguments[0] for role in ROLES.values()))


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Exception, match="No such option: --fast"):
        parse(["lag", "--fast"])
