"""The last stage of `deploy/Dockerfile`: environment, entry point and health check."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Image:
    """`healthcheck` is a command, as the container runs it."""

    environ: dict[str, str]
    entrypoint: list[str]
    healthcheck: list[str]
    user: str


def read(path: Path = DOCKERFILE) -> Image:
    last = path.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", last, flags=re.MULTILINE)).splitlines()
    said = {instruction: rest for instruction, _, rest in (line.partition(" ") for line in lines)}
    environ = dict(pair.split("=", 1) for pair in said["ENV"].split())
    check = said["HEALTHCHECK"].partition("CMD ")[2]
    return Image(environ, json.loads(said["ENTRYPOINT"]), json.loads(check), said["USER"])
