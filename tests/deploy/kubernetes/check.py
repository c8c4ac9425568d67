"""Checks each manifest against Kubernetes' own schemas, and those of KEDA against `keda.json`: part of `make check`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.deploy.kubernetes.rendering import FOLDER, RENDERED, Document, documents, stale

VERSIONS: Final = ("1.30", "1.37")
"""The oldest that has everything that is used, and the newest that is known."""

KEDA: Final = "keda.sh/v1alpha1"
KEDA_SCHEMA: Final = json.loads(Path(__file__).with_name("keda.json").read_text(encoding="utf-8"))
"""What is used of KEDA 2, by its documentation, and nothing else: it publishes no JSON schema of its triggers."""


def files() -> list[Path]:
    return sorted(path for folder in (RENDERED, FOLDER / "servers", FOLDER / "examples") for path in folder.iterdir())


def faults(document: Document) -> Iterator[str]:
    """What the schemas refuse, unknown fields included."""
    if document["apiVersion"] == KEDA:
        if error := best_match(Draft202012Validator(KEDA_SCHEMA).iter_errors(document)):
            yield f"KEDA: {error}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"Kubernetes {version}: {error.message}"


def main() -> int:
    """Exit code: 0, or 1 with a line for each fault."""
    found = [f"rendered/{name}.yaml is stale: make kubernetes" for name in stale()]
    for path in files():
        try:
            for document in documents(path.read_text(encoding="utf-8")):
                where = f"{path.relative_to(FOLDER)}: {document['kind']} {document['metadata']['name']}"
                found += [f"{where}: {fault}" for fault in faults(document)]
        except yaml.YAMLError as error:
            found.append(f"{path.relative_to(FOLDER)}: {error}")
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
