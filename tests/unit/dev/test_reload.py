"""The roles that a change affects, and when a change is complete."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.dev.reload.changes import ChangedModules
from gengui_stream.dev.reload.import_graph import Imports, reached, read_imports, roles_of
from gengui_stream.dev.reload.messages import Change
from gengui_stream.roles import ROLES

IMPORTS: Final = read_imports()


def test_the_entry_of_each_role_is_imported_in_its_process_alone() -> None:
    for role in ROLES.values():
        others = {other.module for other in ROLES.values()} - {role.module}
        assert role.module in IMPORTS
        assert reached(role.module, IMPORTS).isdisjoint(others)


@pytest.mark.parametrize(
    ("module", "roles"),
    [
        ("gengui_stream.worker.run", ["worker"]),
        ("gengui_stream.bridge", ["bridge"]),
        ("gengui_stream.media.thumbnails", ["thumbnails"]),
        ("api.notification_fanout", ["api"]),
        ("agents.run", ["agents", "live-tables"]),
        ("gengui_stream.settings", list(ROLES)),
        ("gengui_stream", list(ROLES)),
        ("gengui_stream.cli.commands.roles", list(ROLES)),
        ("gengui_stream.dev.ports", []),
        ("gengui_stream.cli.commands.doctor", []),
    ],
)
def test_a_module_concerns_the_roles_that_import_it(module: str, roles: list[str]) -> None:
    assert roles_of([module], IMPORTS) == roles


def test_imports_in_a_circle_end() -> None:
    assert reached("api.server", {"api.server": {"api.keys"}, "api.keys": {"api.server"}}) >= {"api.keys", "api"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "api").mkdir()
    for name in ("server", "keys"):
        (tmp_path / "api" / f"{name}.py").write_text("x = 1\n")
    return tmp_path


def changed_modules(root: Path, *graphs: Mapping[str, set[str]]) -> ChangedModules:
    """The graph at the beginning, then that of each change."""
    left = iter(graphs)

    def read() -> Imports:
        return next(left)

    return ChangedModules(root, read)


WITH_KEYS: Final = {"api.server": {"api.keys"}, "api.keys": set[str]()}
WITHOUT_HUB: Final = {"api.server": set[str]()}


def test_many_files_are_one_change(root: Path) -> None:
    changes = changed_modules(root, WITH_KEYS, WITH_KEYS)
    taken = changes.take([root / "api" / "server.py", root / "api" / "keys.py"])
    assert taken == Change(["api/keys.py", "api/server.py"], roles=["api"])


def test_a_file_that_does_not_parse_keeps_the_change_back_until_it_does(root: Path) -> None:
    changes = changed_modules(root, WITH_KEYS, WITH_KEYS)
    (root / "api" / "keys.py").write_text("x = (\n")
    assert changes.take([root / "api" / "keys.py"]) == Change(
        ["api/keys.py"], faults=["api/keys.py:1: '(' was never closed"]
    )
    assert not changes.take([root / "api" / "server.py"]).roles
    (root / "api" / "keys.py").write_text("x = ()\n")
    assert changes.take([root / "api" / "keys.py"]) == Change(["api/keys.py", "api/server.py"], roles=["api"])


def test_a_file_that_was_removed_concerns_those_that_imported_it(root: Path) -> None:
    changes = changed_modules(root, WITH_KEYS, WITHOUT_HUB)
    (root / "api" / "keys.py").unlink()
    assert changes.take([root / "api" / "keys.py"]).roles == ["api"]


def test_a_new_file_concerns_those_that_import_it(root: Path) -> None:
    changes = changed_modules(root, WITHOUT_HUB, WITH_KEYS)
    assert changes.take([root / "api" / "keys.py"]).roles == ["api"]


def test_a_change_arrives_as_it_was_sent() -> None:
    change = Change(["api/keys.py"], roles=["api"], faults=["x"], environment=True)
    assert Change.decode(change.encode().encode()) == change
