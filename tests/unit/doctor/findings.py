"""What the tests of evaluations share."""

from datetime import UTC, datetime

from gengui_stream.doctor.findings import Finding

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.status for finding in findings}
