"""The documents are true: commands and targets exist, links lead somewhere, every dependency has its reason."""

import ast
import fnmatch
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from typer.core import TyperGroup

from gengui_stream.cli.app import command_line
from gengui_stream.domain.generation.jobs import JobKind
from gengui_stream.roles import ROLES, SERVER_SETTINGS
from gengui_stream.settings import Settings
from gengui_stream.settings.older_names import OLDER_NAMES
from tests.metric_names import own_registry

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
OPERATIONS = ROOT / "docs" / "operations.md"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


NAMED_BY_KIND = {f"role.{role}" for role in ROLES} | {
    *(f"jobs.{kind}" for kind in get_args(JobKind)),
    "flags.image_provider",
}
"""Findings of which there is one for each role or kind of job."""


def documents() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS]


def code(path: Path) -> str:
    """Code that a reader would type: fenced blocks and words in backticks."""
    text = path.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


def commands_in(text: str) -> Iterator[list[str]]:
    for words in re.findall(r"gengui-stream((?: (?:--)?[a-z][a-z-]*)+)", text):
        yield words.split()


@cache
def whole_command() -> TyperGroup:
    command = typer.main.get_command(command_line())
    assert isinstance(command, TyperGroup)
    return command


def unknown(words: list[str]) -> str | None:
    """The first word that the command line does not know; arguments after a complete command are not checked."""
    commands, options = whole_command().commands, whole_command().params
    for word in words:
        if word.startswith("--"):
            if word not in {name for option in options for name in option.opts} | {"--help"}:
                return word
        elif commands:
            if word not in commands:
                return word
            command = commands[word]
            commands, options = command.commands if isinstance(command, TyperGroup) else {}, command.params
    return None


@pytest.mark.parametrize("path", documents())
def test_every_command_named_exists(path: Path) -> None:
    assert [words for words in commands_in(code(path)) if unknown(words)] == []


@pytest.mark.parametrize("path", documents())
def test_every_make_target_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code(path)))
    assert named - targets == set()


@pytest.mark.parametrize("path", documents())
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)|^\[[^\]]+\]: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    relative = [link for pair in links for link in pair if link and "://" not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_the_list_of_decisions_is_complete() -> None:
    listed = re.findall(r"\]\(adr/([^)]+)\)", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert set(listed) >= {path.name for path in (ROOT / "docs" / "adr").glob("*.md")}


@pytest.mark.parametrize("path", documents())
def test_every_file_named_exists(path: Path) -> None:
    """`gengui_stream/log/topics.py`, relative to the root; a name with a placeholder does not count."""
    named = re.findall(
        r"(?<![\w/.])((?:gengui_stream|agents|api|schemas|tests|requirements|docs)/[\w./-]+)", code(path)
    )
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []


@pytest.mark.parametrize("path", documents())
def test_every_function_or_class_named_with_its_file_is_there(path: Path) -> None:
    """`EventLog.append` (`gengui_stream/log/event_log.py`)."""
    named = re.findall(r"`(?:\w+\.)?(\w+)`\s+\(`([\w/]+\.py)`", path.read_text(encoding="utf-8"))
    assert [(name, file) for name, file in named if name not in defined_in(ROOT / file)] == []


def defined_in(module: Path) -> set[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("path", documents())
def test_every_setting_or_constant_named_exists(path: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", code(path)))
    assert {name for name in named if not _in_sources(name)} == set()


def test_every_finding_of_the_doctor_that_is_named_exists() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "gengui_stream" / "doctor").rglob("*.py")]
    subjects = "postgresql|redis|kafka|object_store|provider|role|jobs|flags|projections|dead_letters|emails|cookies"
    named = set(re.findall(rf"`((?:{subjects})\.[a-z_]+)`", page)) - NAMED_BY_KIND
    assert len(named) > 20
    assert {name for name in named if not any(f'"{name}"' in source for source in sources)} == set()


OF_SERVERS = (
    "BAD_CERTIFICATE",
    "CERTIFICATE_REQUIRED",
    "Connection refused",
    "EndpointConnectionError",
    "certificate verify failed",
    "database … does not exist",
    "invalid username-password pair",
    "password authentication failed",
    "role … does not exist",
    "too many clients",
)
"""What servers and their clients say, and the doctor repeats."""


def test_the_quoted_words_of_the_doctor_are_its_own() -> None:
    """In the first column of the page: after the name of a finding, words of its detail."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    folders = (ROOT / "gengui_stream" / "doctor", ROOT / "gengui_stream" / "providers" / "runpod")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    columns = re.findall(r"^\| (`[a-z_]+\.[a-z_]+`[^|]*) \|", page, re.MULTILINE)
    spans = {
        span for column in columns for span in re.findall(r"`([^`]+)`", column) if not re.match(r"\w+\.\w+$", span)
    }
    assert len(spans - set(OF_SERVERS)) > 10
    said = [part.strip() for span in spans - set(OF_SERVERS) for part in span.split("…")]
    assert [words for words in said if not any(words in source for source in sources)] == []


def test_every_setting_that_the_original_had_is_one_or_counts_as_one() -> None:
    """In the table of variables: a name on the right is a setting, and one on the left too where it is "the same"; each
    other one is an older name."""
    page = (ROOT / "docs" / "from-gengui-core.md").read_text(encoding="utf-8")
    table = page.partition("\n## Environment variables\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    settings = {name.upper() for name in Settings.model_fields}
    assert len(rows) > 10
    for old, new, _ in rows:
        names = set(re.findall(r"`([A-Z0-9_]+)`", old))
        assert names <= (settings if new.startswith("the same") else OLDER_NAMES.keys()), old
        assert set(re.findall(r"`([A-Z0-9_]{5,})[`=]", new)) <= settings, new


def test_every_line_of_the_original_says_where_it_is_tested() -> None:
    page = (ROOT / "docs" / "from-gengui-core.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| GenGui Core \| here \| tested in \|\n\|[-|]+\n((?:\|.*\n?)+)", page, re.MULTILINE)
    rows = [
        [cell.strip() for cell in row.strip().strip("|").split(" | ")] for table in tables for row in table.splitlines()
    ]
    assert len(rows) > 50
    assert [row for row in rows if len(row) != 3 or not all(row)] == []


def test_the_metrics_of_the_page_are_those_that_processes_have() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    table = page.partition("\n### Metrics\n")[2].partition("\n### ")[0]
    names = re.findall(r"`(gengui_\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if "|" in row))
    written = set(names)
    assert len(written) == len(names)
    suffixes = {"counter": "_total"}
    assert written == {f"{metric.name}{suffixes.get(metric.type, '')}" for metric in own_registry().collect()}


def test_the_table_of_roles_is_that_of_the_registry() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    table = page.partition("\n## Processes\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `gengui-stream")]
    written = {
        command.strip(" `"): (summary.strip(), {name for name in SERVER_SETTINGS if name in servers}, names(settings))
        for command, summary, servers, settings, _ in rows
    }
    assert written == {role.command: (role.summary, set(role.servers), list(role.settings)) for role in ROLES.values()}


def test_operations_name_every_command() -> None:
    """So that an operator who searches the page for a command finds when to use it."""
    named = {tuple(word for word in words if not word.startswith("-")) for words in commands_in(code(OPERATIONS))}
    shown = {words[:length] for words in named for length in range(1, len(words) + 1)}
    everything = whole_command()
    assert set(leaves(everything)) - shown == set()


def leaves(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The commands that run, each by its words."""
    for name, inner in group.commands.items():
        if isinstance(inner, TyperGroup):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name)


def names(cell: str) -> list[str]:
    return re.findall(r"`([A-Z0-9_]+\*?)`", cell)


def test_every_setting_of_a_role_or_a_server_exists() -> None:
    named = {name for role in ROLES.values() for name in role.settings}
    named |= {name for settings in SERVER_SETTINGS.values() for name in settings}
    known = {name.upper() for name in Settings.model_fields}
    assert {name for name in named if not fnmatch.filter(known, name)} == set()


def test_the_default_ports_are_those_of_the_registry() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    written = {command: int(port) for command, port in re.findall(r"^\| `([^`]+)` \| (9\d{3}) \|$", page, re.MULTILINE)}
    assert written == {" ".join(role.arguments): role.metrics_port for role in ROLES.values() if role.metrics_port}


def _in_sources(name: str) -> bool:
    """A setting, a constant, or what the Makefile and the tests read from the environment."""
    return name in _words_in_sources()


@cache
def _words_in_sources() -> frozenset[str]:
    folders = ("gengui_stream", "agents", "api", "schemas", "tests")
    modules = [module for folder in folders for module in (ROOT / folder).rglob("*.py")]
    sources = (ROOT / ".env.example", ROOT / "Makefile", *modules)
    return frozenset(word for source in sources for word in re.findall(r"\w+", source.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", documents())
def test_every_python_example_is_a_module_that_type_checks(path: Path) -> None:
    """`make check` type-checks the modules of `tests/types`: an example has to be copied there."""
    modules = [module.read_text(encoding="utf-8") for module in (ROOT / "tests" / "types").glob("*.py")]
    examples = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [example for example in examples if example not in modules] == []


def test_every_dependency_has_its_line_and_every_line_its_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    direct = {re.split(r"[\[<>=~]", line)[0] for line in [*project["dependencies"], *extras]}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == direct
