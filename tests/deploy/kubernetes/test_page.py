"""The commands of docs/deployment.md name what the manifests have."""

import re
from collections import defaultdict
from typing import Final

import pytest

from gengui_stream.settings.secrets.fields import SECRETS
from tests.deploy.kubernetes.pods import of_kind, pods
from tests.deploy.kubernetes.rendering import FOLDER, OVERLAYS, ROOT, rendered

PAGE: Final = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").partition("\n## Kubernetes\n")[2]
CHAPTER: Final = PAGE.partition("\n## ")[0]
STEPS: Final = dict(zip(OVERLAYS, CHAPTER.split("\n### In production\n"), strict=True))


def created(text: str) -> dict[str, set[str]]:
    """The keys of each Secret that the commands create."""
    made = defaultdict[str, set[str]](set)
    for name, options in re.findall(r"kubectl create secret generic (\S+)(.*)", text):
        made[name] |= set(re.findall(r"--from-(?:file|literal)=([\w-]+)", options))
    return made


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_that_the_settings_name_is_created(overlay: str) -> None:
    made = created(STEPS[overlay])
    for pod in pods(overlay).values():
        files = {name for name in SECRETS if f"{name}_FILE" in pod.environ}
        given = {key for secret in pod.secrets for key in made.get(secret, set())}
        assert files <= given, pod.name


def test_what_scales_has_its_secret() -> None:
    made = created(STEPS["production"])
    for each in of_kind(rendered("production"), "TriggerAuthentication"):
        for reference in each["spec"]["secretTargetRef"]:
            assert reference["key"] in made[reference["name"]]


def test_every_resource_that_is_named_exists() -> None:
    documents = [*rendered("small"), *rendered("small-migrate")]
    known = {f"{each['kind']}/{each['metadata']['name']}".lower() for each in documents} | {"service/objects"}
    named = set(re.findall(r"\b((?:deployment|job|service)/[a-z-]+)(?![a-z$-])", CHAPTER)) - {"job/migrate-"}
    assert named
    assert {each for each in named if each not in known} == set()


def test_every_path_of_a_command_exists() -> None:
    paths = set(re.findall(r"(?:-f |OVERLAY=|-k )(deploy/\S+?)(?=[`\s]|$)", CHAPTER))
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    named = re.findall(
        r"^\| `((?:base|components|migrate|overlays|servers|examples|rendered)[^`]*)` \|", CHAPTER, re.MULTILINE
    )
    assert {name.split("/")[0] for name in named} == {path.name for path in FOLDER.iterdir()}
