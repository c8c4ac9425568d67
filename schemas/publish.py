"""Writes `schemas/published/`: `python -m schemas.publish`; `--check` only names the stale files."""

import json
import sys
from pathlib import Path
from typing import Final

from schemas.asyncapi import asyncapi_document
from schemas.events import EVENT_CLASSES
from schemas.openapi import openapi_document

FOLDER: Final = Path(__file__).parent / "published"


def documents() -> dict[Path, str]:
    """The text of every published file, by path."""
    found: dict[Path, object] = {
        FOLDER / "openapi.json": openapi_document(),
        FOLDER / "asyncapi.json": asyncapi_document(),
    }
    for event in EVENT_CLASSES:
        found[FOLDER / "events" / f"{event.model_fields['type'].default}.json"] = event.model_json_schema()
    return {path: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for path, document in found.items()}


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Files that are missing, differ, or are no longer published."""
    there = set(FOLDER.rglob("*.json"))
    differing = {path for path, text in wanted.items() if path not in there or path.read_text() != text}
    return sorted(differing | (there - set(wanted)))


def main(arguments: list[str]) -> int:
    wanted = documents()
    old = stale(wanted)
    if "--check" in arguments:
        for path in old:
            sys.stderr.write(f"stale: {path}; run python -m schemas.publish\n")
        return 1 if old else 0
    for path in old:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
