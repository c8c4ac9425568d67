"""Each alert fires and stays quiet as promtool evaluates it, and each has its paragraph for the operator."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.alert_cases import CASES, Case, Series
from tests.deploy.promql import ROOT, RULES, rules

ALERTS: Final[dict[str, Any]] = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_every_alert_has_its_case() -> None:
    assert [case.alert for case in CASES] == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_heading_and_severity(name: str) -> None:
    page, _, anchor = ALERTS[name]["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#{2,4} (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {anchor_of(heading) for heading in headings}
    assert ALERTS[name]["labels"]["severity"] in {"page", "ticket"}


def test_every_heading_of_an_alert_has_its_alert() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^#+ (Gengui\w+)$", text, re.MULTILINE) == list(ALERTS)


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_the_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: make promtool")
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(_document(case)), encoding="utf-8")
    ran = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _document(case: Case) -> dict[str, Any]:
    annotations = {"summary": case.summary, "runbook": f"docs/monitoring.md#{case.alert.lower()}"}
    labels = {"severity": ALERTS[case.alert]["labels"]["severity"], **case.labels}
    fired = {"exp_labels": labels, "exp_annotations": annotations}
    return {
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yml"))],
        "evaluation_interval": "5m",
        "tests": [_test(case, case.fires, [fired]), _test(case, case.quiet, [])],
    }


def _test(case: Case, series: Series, expected: list[dict[str, Any]]) -> dict[str, Any]:
    evaluated = {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": expected}
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": [evaluated]}
