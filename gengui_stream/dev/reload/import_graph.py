"""The roles that a module affects: those whose process imports it."""

from collections.abc import Collection, Iterator, Mapping, Set
from typing import Final, TypeAlias

import grimp
from grimp.exceptions import GrimpException

from gengui_stream.roles import ROLES, RoleName

Imports: TypeAlias = Mapping[str, Set[str]]
"""By module: the modules of this project that it imports."""

PACKAGES: Final = ("gengui_stream", "agents", "api", "schemas")

OF_EVERY_ROLE: Final = ("gengui_stream.cli.__main__", "gengui_stream.cli.commands.roles", "gengui_stream.bootstrap")


def read_imports() -> Imports:
    """Of the current files; empty if one of them does not parse. Imports for type checking are left out."""
    try:
        graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    except GrimpException:
        return {}
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def roles_of(changed: Collection[str], imports: Imports) -> list[RoleName]:
    """In the order of the registry."""
    return [role.name for role in ROLES.values() if not reached(role.module, imports).isdisjoint(changed)]


def reached(entry: str, imports: Imports) -> Set[str]:
    """All that a role's process imports; packages too, whose `__init__` runs when a module of theirs is imported."""
    found, waiting = set[str](), [entry, *OF_EVERY_ROLE]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += imports.get(module, set())
        waiting += _packages_above(module)
    return found


def _packages_above(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module
