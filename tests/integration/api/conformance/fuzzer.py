"""Runs Schemathesis against a served API as one caller."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.operations.operation import Operation
from schemas.operations.table import OPERATIONS
from tests.integration.api.client import Client, Json

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[3]
TABLES: Final = ROOT / ".hypothesis"
"""Of characters: to make them takes seconds of processor time."""

SEED: Final = 20_261_129
REQUESTS: Final = int(os.environ.get("CONFORMANCE_REQUESTS", "0"))
"""Of each caller, at least: `make fuzz` has many."""

EXAMPLES: Final = min(50, max(4, REQUESTS // 50))
"""Of each operation and phase. After fifty, Hypothesis climbs towards what is accepted: nearly half of the processor
time, for few requests."""

NUMBERS_OF_A_RUN: Final = 1_000_000

PHASES: Final = "examples,coverage,fuzzing,stateful"
WITHOUT_COVERAGE: Final = "examples,fuzzing,stateful"
"""Coverage is nearly the same for each seed, and has up to 3,000 requests."""

CALLED: Final = "called"


@dataclass
class Caller:
    """`header`: with its key or its session."""

    base: str
    header: str

    @classmethod
    def of(cls, client: Client) -> "Caller":
        return cls(client.base, f"Authorization: Bearer {client.key}")


@dataclass
class Fuzzer:
    """`directory`: empty at the beginning. `tell`: prints a line at once."""

    directory: Path
    tell: Callable[[str], None]

    async def found(
        self, caller: Caller, values: Json, *operations: str, phases: str = PHASES, examples: int = EXAMPLES
    ) -> str:
        """The report of Schemathesis; empty if it found nothing. With CONFORMANCE_REQUESTS: of the last run, after so
        many requests. No run is ended by its duration: a busy machine makes the same requests."""
        report, seed, requests = "", SEED, 0
        while not report and (requests == 0 or requests < REQUESTS):
            bounds = ("--phases", phases, "--max-examples", str(examples), "--seed", str(seed))
            numbered = {**values, "first_number": (seed - SEED) * NUMBERS_OF_A_RUN}
            code, printed = await self._run(caller, numbered, *bounds, *operations)
            generated = re.search(r"(\d+) generated", printed)
            assert generated is not None, printed
            report = "" if code == 0 else printed
            seed, requests, phases = seed + 1, requests + int(generated[1]), WITHOUT_COVERAGE
            self.tell(report or f"{requests} requests with {seed - SEED} seeds from {SEED}")
        print(report)
        return report

    async def _run(self, caller: Caller, values: Json, *options: str) -> tuple[int | None, str]:
        path = self.directory / "values.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        named = {"CONFORMANCE_VALUES": str(path), "CONFORMANCE_CALLED": str(self.directory / CALLED)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
            *("run", f"{caller.base}/openapi.json", "--header", caller.header),
            *("--checks", "all", *options),
            cwd=self.directory,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HYPOTHESIS_STORAGE_DIRECTORY": str(TABLES),
                "NO_COLOR": "1",
                **named,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode, printed.decode()

    def not_called(self, *tags: str) -> Set[str]:
        """The operations of these tags that were not called with valid input, or with invalid input if there is any."""
        called = set((self.directory / CALLED).read_text(encoding="utf-8").splitlines())
        operations = [operation for operation in OPERATIONS if operation.tag in tags]
        expected = {f"valid {each.method.upper()} {each.path}" for each in operations}
        expected |= {f"invalid {each.method.upper()} {each.path}" for each in operations if takes_input(each)}
        return expected - called


def takes_input(operation: Operation) -> bool:
    return bool(operation.body or operation.parameters or operation.headers or "{" in operation.path)
