"""What is rendered is what kustomize makes of the sources, and faults in it are found."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any, Final

import pytest

from tests.deploy.kubernetes import check, rendering
from tests.deploy.kubernetes.rendering import TARGETS, Document, documents, render, rendered, tool


def test_nothing_is_stale() -> None:
    assert rendering.stale() == []


@pytest.mark.skipif(tool() is None, reason="neither kustomize nor kubectl is installed")
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_is_what_the_tool_makes(name: str) -> None:
    """Versions of the tool differ in the order of documents and keys."""
    made, kept = documents(render(TARGETS[name])), rendered(name)
    assert sorted(made, key=repr_of) == sorted(kept, key=repr_of)


def repr_of(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_a_changed_source_makes_everything_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rendering.digest()
    copytree(rendering.FOLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(rendering, "FOLDER", tmp_path)
    assert rendering.digest() == before
    with (tmp_path / "overlays" / "small" / "settings" / "kafka.env").open("a") as settings:
        settings.write("CONSUMER_GROUP=another\n")
    assert rendering.stale() == list(TARGETS)


def test_without_a_tool_the_command_says_what_is_missing() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.deploy.kubernetes.rendering"],
        env={"PATH": "/nonexistent", "PYTHONPATH": str(rendering.ROOT)},
        cwd=rendering.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "kustomize or kubectl is needed" in ran.stderr) == (1, True)
    assert "Traceback" not in ran.stderr


API: Final = next(each for each in rendered("production") if repr_of(each) == ("Deployment", "api"))
SCALED: Final = next(each for each in rendered("production") if repr_of(each) == ("ScaledObject", "agents"))


def changed(document: Document, *path: str | int, to: object) -> Document:
    made = deepcopy(document)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return made


CONTAINER: Final = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (changed(API, "spec", "replicas", to="two"), "replicas"),
        (changed(API, *CONTAINER, "livenesProbe", to={}), "livenesProbe"),
        (changed(API, *CONTAINER, "readinessProbe", "httpGet", "prot", to=1), "prot"),
        (changed(API, *CONTAINER, "securityContext", "runAsUser", to="root"), "runAsUser"),
        (changed(API, "apiVersion", to="apps/v2"), "apps/v2"),
        (changed(SCALED, "spec", "minReplicas", to=2), "minReplicas"),
        (changed(SCALED, "spec", "triggers", 0, "type", to="kafka"), "KEDA"),
        (changed(SCALED, "spec", "triggers", 0, "metadata", "threshold", to=10), "KEDA"),
        (changed(SCALED, "spec", "maxReplicaCount", to="all"), "all"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_check_knows_the_specification(document: Document, complaint: str) -> None:
    assert list(check.faults(API)) == list(check.faults(SCALED)) == []
    found = list(check.faults(document))
    assert found
    assert complaint in found[0]


def test_every_file_is_checked() -> None:
    folder = rendering.FOLDER
    made = {path for path in folder.rglob("*.yaml") if not {*rendering.SOURCES} & {*path.relative_to(folder).parts}}
    assert set(check.files()) == made
