"""What kustomize makes of the overlays. It is kept in `deploy/kubernetes/rendered`, so that everything but its renewal
works without kustomize: `make kubernetes` writes it, and `make check` finds it stale by a digest of what it is made of.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "deploy" / "kubernetes"
RENDERED: Final = FOLDER / "rendered"
SOURCES: Final = ("base", "components", "migrate", "overlays")

OVERLAYS: Final = ("small", "production")
TARGETS: Final[Mapping[str, str]] = {
    name: path
    for overlay in OVERLAYS
    for name, path in [(overlay, f"overlays/{overlay}"), (f"{overlay}-migrate", f"overlays/{overlay}/migrate")]
}
"""The kustomizations, by the name of what is rendered."""

Document: TypeAlias = dict[str, Any]


class NoToolError(Exception):
    """Neither kustomize nor kubectl is installed."""


def digest() -> str:
    """Of every file that a kustomization reads."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(path for path in (FOLDER / folder).rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(FOLDER)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def tool() -> Sequence[str] | None:
    """The command that renders a directory; None where there is none."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if found := shutil.which(command[0]):
            return [found, command[1]]
    return None


def render(path: str) -> str:
    """Raises NoToolError, and ValueError with what the tool reports."""
    command = tool()
    if command is None:
        raise NoToolError("kustomize or kubectl is needed to render the manifests, and neither was found")
    done = subprocess.run([*command, str(FOLDER / path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{path}: {done.stderr.strip()}")
    return done.stdout


def documents(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(name: str) -> list[Document]:
    """As it is kept."""
    return documents((RENDERED / f"{name}.yaml").read_text(encoding="utf-8"))


def header(path: str) -> str:
    return f"# Written by `make kubernetes` from {path}. Sources: {digest()}\n"


def stale() -> list[str]:
    """The names of files that are missing or made of other sources."""
    made = {name: RENDERED / f"{name}.yaml" for name in TARGETS}
    return [
        name
        for name, path in made.items()
        if not path.exists() or not path.read_text(encoding="utf-8").startswith(header(TARGETS[name]))
    ]


def main() -> int:
    """Exit code: 0, or 1 with the reason in a line."""
    try:
        texts = {name: header(path) + render(path) for name, path in TARGETS.items()}
    except (NoToolError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    RENDERED.mkdir(exist_ok=True)
    for name, text in texts.items():
        (RENDERED / f"{name}.yaml").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
