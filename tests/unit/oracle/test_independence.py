"""The oracle shares no code with what it checks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.oracle

FOLDER = Path(tests.oracle.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))
UNDER_TEST = {"gengui_stream", "schemas", "agents", "api"}


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"


def shared(source: str) -> list[str]:
    """Imports of the packages under test, and of test code that may import them."""
    foreign = [name for name in imported(source) if name.partition(".")[0] in UNDER_TEST | {"", "tests"}]
    return [name for name in foreign if not name.startswith("tests.oracle.")]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_oracle_imports_nothing_of_the_system(module: Path) -> None:
    assert shared(module.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "from gengui_stream.domain.generation.evolve import evolve",
        "import schemas.events",
        "from tests.integration.running import logged",
        "def late():\n    import agents.run",
        "from ..faults import oracle",
    ],
)
def test_an_import_of_the_system_is_found(line: str) -> None:
    assert shared(line)
