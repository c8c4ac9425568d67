"""The affected roles of changed files. A change is delayed while one of its files does not parse."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gengui_stream.dev.reload.import_graph import Imports, roles_of
from gengui_stream.dev.reload.messages import Change


class ChangedModules:
    """`read_imports` is called at the beginning, and for each change whose files all parse."""

    def __init__(self, root: Path, read_imports: Callable[[], Imports]) -> None:
        self._root, self._read_imports = root, read_imports
        self._imports = read_imports()
        self._pending: set[Path] = set()

    def take(self, files: Collection[Path]) -> Change:
        """Takes paths below the root. A delayed change is part of the next one."""
        self._pending |= set(files)
        names = sorted(str(path.relative_to(self._root)) for path in self._pending)
        if faults := list(self._faults()):
            return Change(names, faults=faults)
        changed = {self._module(path) for path in self._pending}
        before, self._imports = self._imports, self._read_imports()
        self._pending.clear()
        # A removed module is only in the earlier graph, a new one only in the current graph.
        both = {
            module: before.get(module, set()) | self._imports.get(module, set()) for module in {*before, *self._imports}
        }
        return Change(names, roles=roles_of(changed, both))

    def _faults(self) -> Iterator[str]:
        for path in sorted(self._pending):
            name = path.relative_to(self._root)
            try:
                compile(path.read_bytes(), str(name), "exec", dont_inherit=True)
            except FileNotFoundError:  # removed, or being renamed
                continue
            except SyntaxError as error:
                yield f"{name}:{error.lineno}: {error.msg}"
            except (OSError, ValueError) as error:
                yield f"{name}: {error}"

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self._root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
