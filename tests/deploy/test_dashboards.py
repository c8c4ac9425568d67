"""Dashboards and rules name what processes export, and nothing else. No server is needed."""

import json
import re
import shutil
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.promql import ROOT, faults, references, rules
from tests.metric_names import exported

GRAFANA: Final = ROOT / "deploy" / "grafana"
FILES: Final = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS: Final[dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
EXPRESSIONS: Final = [
    pytest.param(target["expr"], id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel.get("targets", ())
] + [pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules()]

CLOSED: Final = ("outcome", "finding", "state", "policy", "store")
"""Labels whose values are listed on the page of the metrics."""


def test_the_check_finds_what_there_is_not() -> None:
    assert list(faults("sum(rate(gengui_http_requests_total[5m]))")) == []
    assert list(faults('sum by (route) (gengui_http_requests_total{status="5.."})')) == []
    assert list(faults("gengui_http_request_total")) == ["no metric gengui_http_request_total"]
    assert list(faults('sum(gengui_streams_open{provider="a"})')) == ["no label provider"]
    assert list(faults("sum by (policy) (gengui_streams_open)")) == ["no label policy"]
    assert list(faults("gengui_http_request_seconds")) == ["no metric gengui_http_request_seconds"]
    assert list(faults("gengui:nothing:ratio_rate5m")) == ["no metric gengui:nothing:ratio_rate5m"]
    assert list(faults("vector(1)")) == ["no metric"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str) -> None:
    assert list(faults(expression)) == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_value_of_a_closed_label_is_a_documented_one(expression: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("\n### Metrics\n")[2].partition("\n### ")[0]
    found = references(expression)
    rows = [row for row in table.splitlines() if any(f"`{name}`" in row for name in found.names)]
    for label in CLOSED:
        for value in found.values.get(label, ()):
            assert any(f"`{value}`" in row for row in rows), f"{label}={value} is in no row of {sorted(found.names)}"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_explained_and_do_not_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert [panel["title"] for panel in panels if panel["type"] != "row" and not panel["description"]] == []
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    assert max(Counter(panel["title"] for panel in panels).values()) == 1
    places = [panel["gridPos"] for panel in panels]
    assert max(place["x"] + place["w"] for place in places) <= 24
    assert [pair for pair in combinations(places, 2) if overlap(*pair)] == []


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_reads_the_chosen_prometheus(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource"]
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel.get("targets", ())}
    assert used == {"${datasource}"}
    assert dashboard["uid"].startswith("gengui-")


def test_every_metric_that_may_need_attention_is_on_a_dashboard() -> None:
    shown = {name for expression in EXPRESSIONS for name in references(str(expression.values[0])).names}
    own = {name for name in exported() if name.startswith("gengui_")}
    assert {name for name in own if re.sub(r"_(sum|count|bucket)$", "", name) == name} - shown == set()


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "gengui.yml").read_text())["providers"]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in {f"{provider['options']['path']}/{path.name}" for path in FILES}


def test_cloudwatch_gets_what_prometheus_scrapes() -> None:
    collector = yaml.safe_load((ROOT / "deploy" / "cloudwatch" / "collector.yml").read_text(encoding="utf-8"))
    own = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    [sent] = collector["receivers"]["prometheus"]["config"]["scrape_configs"]
    [scraped] = own["scrape_configs"]
    assert {**scraped, "scrape_interval": "60s"} == sent
    pipeline = collector["service"]["pipelines"]["metrics"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(collector[kind])


def test_prometheus_reads_the_configuration_and_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: make promtool")
    shown = [str(each.values[0]).replace("$__rate_interval", "5m") for each in EXPRESSIONS]
    made = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(shown)]
    rules_file = tmp_path / "panels.yml"
    rules_file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    checks = (
        [promtool, "check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml")],
        [promtool, "check", "rules", str(rules_file)],
    )
    for check in checks:
        ran = subprocess.run(check, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
