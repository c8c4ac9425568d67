"""The doctor's findings inside a test."""

from collections.abc import Mapping
from pathlib import Path

from gengui_stream.doctor.checks import CHECKS
from gengui_stream.doctor.examination import examine
from gengui_stream.doctor.findings import Finding
from gengui_stream.settings import Settings


async def examined(settings: Settings, directory: Path, *subjects: str) -> Mapping[str, Finding]:
    """By name. `subjects`: names of checks, of all of them when none is given; servers are always among them, as
    others need them."""
    servers = {"postgresql", "redis", "kafka", "object_store"}
    wanted = [check for check in CHECKS if not subjects or check.name in {*subjects, *servers}]
    report = await examine(settings, directory, wanted, lambda _: None)
    assert not report.abandoned
    return {finding.name: finding for finding in report.findings}


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.status == "fail"}
