"""The doctor's findings inside a test."""

from collections.abc import Mapping
from pathlib import Path

import orjson

from gengui_stream.doctor.checks import CHECKS
from gengui_stream.doctor.examination import examine
from gengui_stream.doctor.findings import Finding
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings

NO_PROCESS = "http://127.0.0.1:1"
LIMIT_S = 60.0
"""The loop of a test runs whole roles beside the checks."""


async def examined(settings: Settings, directory: Path, *subjects: str) -> Mapping[str, Finding]:
    """By name. `subjects`: names of checks, which run together with the checks of the servers that they need. No role
    is found at its default port: it is unknown what else runs on the machine."""
    addresses = directory / "stack.json"
    if not addresses.exists():
        addresses.write_bytes(orjson.dumps({"health": dict.fromkeys(ROLES, NO_PROCESS)}))
    needed = {server for check in CHECKS if check.name in subjects for server in check.needs}
    wanted = [check for check in CHECKS if check.name in {*subjects, *needed}]
    assert {check.name for check in wanted} >= set(subjects)
    report = await examine(settings, directory, wanted, lambda _: None, limit_s=LIMIT_S)
    assert not report.abandoned
    return {finding.name: finding for finding in report.findings}


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.status == "fail"}
