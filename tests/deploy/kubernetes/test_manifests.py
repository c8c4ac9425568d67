"""The manifests as documents: what each role is given, what it may do, and how it is probed, ended and moved."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest

from gengui_stream.providers.heartbeats import gemini_call_s
from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings, load_settings
from gengui_stream.settings.secrets.fields import SECRETS
from gengui_stream.settings.secrets.files import SUFFIX
from tests.deploy import compose_file, image
from tests.deploy.kubernetes.pods import MOUNTED, OTHERS, SERVERS, Pod, of_kind, pods
from tests.deploy.kubernetes.rendering import FOLDER, OVERLAYS, Document, documents, rendered

LAST_SECONDS: Final = 4
"""What a role that hangs gets beyond its grace."""

ROLE_PODS: Final = [pytest.param(pods(overlay)[role], id=f"{overlay}-{role}") for overlay in OVERLAYS for role in ROLES]
ALL_PODS: Final = [
    pytest.param(pod, id=f"{overlay}-{name}") for overlay in OVERLAYS for name, pod in pods(overlay).items()
]
MIB: Final = {"Mi": 1, "Gi": 1024}


def mib(quantity: str) -> int:
    return int(quantity[:-2]) * MIB[quantity[-2:]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_is_a_deployment_with_the_command_that_the_registry_has(overlay: str) -> None:
    made = {name: tuple(pod.container["args"]) for name, pod in pods(overlay).items() if pod.kind == "Deployment"}
    assert made == {role.name: role.arguments for role in ROLES.values()}
    assert not any("command" in pod.container for pod in pods(overlay).values()), "the image's own entry point"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_migrations_are_jobs_of_which_the_first_begins_at_once(overlay: str) -> None:
    jobs = {name: pod for name, pod in pods(overlay).items() if pod.kind == "Job"}
    phases = {name: pod.container["args"][-1] for name, pod in jobs.items()}
    assert phases == {"migrate-pre": "pre", "migrate-backfill": "backfill", "migrate-post": "post"}
    suspended = {name: pod.owner["spec"]["suspend"] for name, pod in jobs.items()}
    assert suspended == {"migrate-pre": False, "migrate-backfill": True, "migrate-post": True}


@pytest.mark.parametrize("pod", ROLE_PODS)
def test_a_role_has_what_its_servers_need_and_no_other_secret(pod: Pod) -> None:
    """A worker, for example, has no password of the database, and cannot reach it."""
    expected = {SERVERS[server] for server in ROLES[pod.name].servers} | OTHERS.get(pod.name, frozenset())
    assert pod.reached == expected
    assert pod.secrets == {f"gengui-{name}" for name in {"settings", *expected}}
    named = [source["configMapRef"]["name"] for source in pod.container["envFrom"]]
    assert {re.sub(r"-[a-z0-9]{10}$", "", name) for name in named} == pod.secrets


@pytest.mark.parametrize("pod", ALL_PODS)
def test_what_a_pod_is_given_are_settings_and_files_of_secrets(pod: Pod) -> None:
    files = {f"{name}{SUFFIX}": f"{MOUNTED}/{name}" for name in SECRETS if f"{name}{SUFFIX}" in pod.environ}
    assert files.items() <= pod.environ.items()
    plain = pod.environ.keys() - files.keys()
    assert {name for name in plain if name.lower() not in Settings.model_fields} == set()
    assert {name for name in plain & SECRETS if name != "REDIS_URL" or "@" in pod.environ[name]} == set()


@pytest.mark.parametrize("pod", ALL_PODS)
def test_the_settings_of_a_pod_are_valid(pod: Pod, tmp_path: Path) -> None:
    contents = {
        "DATABASE_URL": "postgresql://gengui:p@postgres.example.com:5432/gengui?sslmode=verify-full",
        "REDIS_URL": "rediss://:p@redis.example.com:6379/0",
    }
    environ = image.read().environ | pod.environ
    for name in SECRETS:
        (tmp_path / name).write_text(f"{contents.get(name, 'secret')}\n")
    mounted = {name: value.replace(MOUNTED, str(tmp_path)) for name, value in environ.items()}
    settings = load_settings(mounted, env_files=())
    assert settings.environment == "production"


@pytest.mark.parametrize("pod", ALL_PODS)
def test_a_pod_is_restricted(pod: Pod) -> None:
    """By the Pod Security Standard of that name, with a root file system that is never written to."""
    user, _, group = image.read().user.partition(":")
    expected = {"runAsNonRoot": True, "runAsUser": int(user), "runAsGroup": int(group), "fsGroup": int(group)}
    assert pod.spec["securityContext"] == {**expected, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod.spec["automountServiceAccountToken"], pod.spec["enableServiceLinks"]) == (False, False)
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod.container["volumeMounts"]}
    assert mounts == {"/tmp": False, MOUNTED: True}


@pytest.mark.parametrize("pod", ALL_PODS)
def test_a_pod_has_time_to_stop(pod: Pod) -> None:
    before = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = float(pod.environ.get("SHUTDOWN_GRACE_S", Settings.model_fields["shutdown_grace_s"].default))
    assert pod.spec["terminationGracePeriodSeconds"] > before + grace + LAST_SECONDS


def test_a_dispatch_process_may_finish_a_call_of_gemini() -> None:
    """A call that is cut off is billed, and made again."""
    for overlay in OVERLAYS:
        settings = load_settings(
            {"SHUTDOWN_GRACE_S": pods(overlay)["dispatch"].environ["SHUTDOWN_GRACE_S"]}, env_files=()
        )
        assert settings.shutdown_grace_s > gemini_call_s(settings)


@pytest.mark.parametrize("pod", ROLE_PODS)
def test_probes_ask_the_port_that_a_thread_serves(pod: Pod) -> None:
    """Not the API's own port, whose /readyz follows its servers: all of its pods would be taken out at once."""
    probes = {name: pod.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    paths = {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert probes == {name: {"path": path, "port": "health"} for name, path in paths.items()}
    environ = image.read().environ | pod.environ
    assert str(pod.port("health")) == environ["API_METRICS_PORT" if pod.name == "api" else "METRICS_PORT"]
    scraped = pod.template["metadata"]["annotations"]["prometheus.io/port"]
    assert scraped == str(pod.port("health"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_leads_to_the_port_of_the_api_alone(overlay: str) -> None:
    [service] = of_kind(rendered(overlay), "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    assert service["spec"]["selector"].items() <= pods(overlay)["api"].template["metadata"]["labels"].items()
    assert str(pods(overlay)["api"].port("http")) == image.read().environ["PORT"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_may_lose_one_process_to_a_drained_node(overlay: str) -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(overlay), "PodDisruptionBudget")}
    assert budgets.keys() == ROLES.keys()
    for name, budget in budgets.items():
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"] == pods(overlay)[name].owner["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("pod", ROLE_PODS)
def test_processes_of_a_role_are_spread_over_nodes_and_zones(pod: Pod) -> None:
    spread = {each["topologyKey"]: each for each in pod.spec["topologySpreadConstraints"]}
    assert spread.keys() == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    labels = pod.template["metadata"]["labels"]
    for constraint in spread.values():
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
        assert constraint["matchLabelKeys"] == ["app.kubernetes.io/component", "pod-template-hash"]


@pytest.mark.parametrize("name", ["api", "agents"])
def test_a_new_process_is_there_before_an_old_one_ends(name: str) -> None:
    strategy = pods("production")[name].owner["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def measured_mib() -> dict[str, float]:
    """The most resident memory of each role, of the table in docs/benchmarks.md."""
    page = (compose_file.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = page.partition("\n## Memory\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {row[0]: float(row[5]) for row in rows if row[0] in ROLES}


@pytest.mark.parametrize("pod", ROLE_PODS)
def test_memory_is_that_of_the_measurement_and_room(pod: Pod) -> None:
    measured, resources = measured_mib(), pod.container["resources"]
    assert len(measured) > 6
    requested, limit = mib(resources["requests"]["memory"]), mib(resources["limits"]["memory"])
    assert limit >= 2 * requested - 64
    if pod.name in measured:
        assert requested >= 1.2 * measured[pod.name]
    assert "cpu" not in resources["limits"], "a limit of processor time throttles, and probes time out"


def policies(overlay: str) -> dict[str, Document]:
    return {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(overlay), "NetworkPolicy")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_refused_but_what_a_role_needs(overlay: str) -> None:
    made = policies(overlay)
    assert made.pop("refuse-all") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allowed = {name.removeprefix("to-") for name in made if name.startswith("to-")}
    assert allowed == {*SERVERS.values(), *(other for others in OTHERS.values() for other in others)}
    for name in allowed:
        assert made[f"to-{name}"]["podSelector"] == {"matchLabels": {f"gengui-stream/{name}": "true"}}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_reaches_a_collector_of_traces_beside_prometheus(overlay: str) -> None:
    scraped, sent = policies(overlay)["prometheus"], policies(overlay)["traces"]
    assert sent["podSelector"] == scraped["podSelector"]
    [egress] = sent["egress"]
    assert egress == {"to": scraped["ingress"][0]["from"], "ports": [{"protocol": "TCP", "port": 4318}]}


def admitted(rule: Mapping[str, Any], port: int) -> bool:
    return any(each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"])


def test_the_ports_of_the_servers_are_admitted() -> None:
    ports = {
        "kafka": (9092, 9093),
        "postgresql": (5432, 6432),
        "redis": (6379,),
        "objects": (443, 8333),
        "mail": (587,),
    }
    for name, wanted in ports.items():
        [rule] = policies("small")[f"to-{name}"]["egress"]
        assert all(admitted(rule, port) for port in wanted), name


def test_providers_are_reached_at_public_addresses_alone() -> None:
    [rule] = policies("production")["to-providers"]["egress"]
    excluded = rule["to"][0]["ipBlock"]["except"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(excluded)


def servers() -> dict[str, Document]:
    found = [each for path in (FOLDER / "servers").glob("*.yaml") for each in documents(path.read_text())]
    return {each["metadata"]["name"]: each for each in of_kind(found, "StatefulSet")}


@pytest.mark.parametrize("name", ["postgres", "redis", "kafka", "objects"])
def test_the_servers_to_try_it_with_are_those_of_the_compose_file(name: str) -> None:
    """Which run in tests with these commands and settings (tests/deploy/test_servers.py)."""
    service = compose_file.read(compose_file.example_environ())["services"][name]
    [container] = servers()[name]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == service["image"]
    assert container.get("command", []) + container.get("args", []) == service.get("command", [])
    here = {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}
    secret = ("*PASSWORD*", "*SECRET*")
    shown = {k: v for k, v in service.get("environment", {}).items() if not any(fnmatch(k, each) for each in secret)}
    assert {name: value for name, value in here.items() if not name.endswith("_FILE")} == shown


def test_a_key_that_overlays_name_is_the_servers_own() -> None:
    [container] = servers()["objects"]["spec"]["template"]["spec"]["containers"]
    keys = {each["name"]: each.get("value") for each in container["env"]}
    assert keys["AWS_ACCESS_KEY_ID"] == pods("small")["api"].environ["AWS_ACCESS_KEY_ID"]


def without_names(pod: Pod) -> Document:
    """What does not differ between overlays."""
    container = {name: value for name, value in pod.container.items() if name not in {"image", "envFrom"}}
    return {**pod.spec, "containers": [container]}


@pytest.mark.parametrize("name", [*ROLES, "migrate-pre", "migrate-backfill", "migrate-post"])
def test_overlays_differ_in_settings_image_and_numbers_alone(name: str) -> None:
    """So that what runs in a test of the small one is the large one's as well."""
    assert without_names(pods("small")[name]) == without_names(pods("production")[name])
