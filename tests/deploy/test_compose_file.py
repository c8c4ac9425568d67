"""The compose file and the image as documents: their contents, their requirements, their errors."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gengui_stream.roles import ROLES
from gengui_stream.settings import Settings
from tests.deploy import compose_file, image

ROOT: Final = compose_file.ROOT
DOCUMENT: Final = compose_file.read(compose_file.example_environ())
SERVICES: Final[dict[str, Any]] = DOCUMENT["services"]
OURS: Final = ("migrate", *ROLES)
SERVERS: Final = sorted(set(SERVICES) - set(OURS))

PORTS: Final = {
    "api": {"3001": "3000"},
    "postgres": {"5434": "5432"},
    "redis": {"6380": "6379"},
    "kafka": {"9094": "9094"},
    "objects": {"8333": "8333"},
    "mailpit": {"1025": "1025", "8025": "8025"},
    "mongodb": {},
    "growthbook": {"3200": "3000", "3100": "3100"},
    "prometheus": {"9090": "9090"},
    "grafana": {"3300": "3000"},
}
"""By the host's port. What a server has in its container is what its image documents."""

DATA: Final = {
    "postgres": "/var/lib/postgresql",
    "redis": "/data",
    "kafka": "/var/lib/kafka/data",
    "objects": "/data",
    "mongodb": "/data/db",
    "growthbook": "/usr/local/src/app/packages/back-end/uploads",
    "prometheus": "/prometheus",
}

OF_THE_CHECKOUT: Final = {
    "./deploy/prometheus": "/etc/prometheus",
    "./deploy/grafana/provisioning": "/etc/grafana/provisioning",
    "./deploy/grafana/dashboards": "/etc/grafana/dashboards",
}
"""What servers read of it."""


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


@pytest.mark.parametrize(
    ("service", "complaint"),
    [
        ({"comand": "c"}, "comand"),
        ({"ports": ["a:b"]}, "parsing `a`"),
        ({"restart": "unles"}, "unles"),
        ({"networks": ["nowhere"]}, "nowhere"),
        ({"volumes": ["nothing:/data"]}, "service a mounts nothing, which is not defined"),
        ({"volumes": ["./nothing:/data:ro"]}, "service a mounts ./nothing, which is not defined"),
        ({"depends_on": {"nothing": {"condition": "service_healthy"}}}, "service a depends on nothing"),
    ],
    ids=str,
)
def test_the_check_knows_the_specification(service: dict[str, object], complaint: str) -> None:
    compose_file.check(DOCUMENT)
    with pytest.raises(ValueError, match=complaint):
        compose_file.check({"services": {"a": {"image": "b", **service}}})


def test_every_role_is_a_service_with_the_command_that_the_registry_has() -> None:
    assert {name: tuple(SERVICES[name]["command"]) for name in ROLES} == {
        role.name: role.arguments for role in ROLES.values()
    }


@pytest.mark.parametrize("name", OURS)
def test_roles_wait_for_the_migrations_and_have_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    grace = Settings.model_fields["shutdown_grace_s"].default
    assert seconds(service["stop_grace_period"]) > grace + 4, "what a role that hangs gets beyond its grace"
    if name != "migrate":
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])


@pytest.mark.parametrize("name", OURS)
def test_what_a_role_is_given_are_settings(name: str) -> None:
    unknown = {variable for variable in SERVICES[name]["environment"] if variable.lower() not in Settings.model_fields}
    assert unknown == set()


@pytest.mark.parametrize("name", ["api", *SERVERS])
def test_ports_are_the_documented_ones_on_the_loopback_interface(name: str) -> None:
    published = [port.split(":") for port in SERVICES[name].get("ports", [])]
    assert {address for address, _, _ in published} <= {"127.0.0.1"}
    assert {outside: inside for _, outside, inside in published} == PORTS[name]


@pytest.mark.parametrize("name", SERVERS)
def test_servers_are_pinned_checked_and_kept(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+(\.\d+)+", service["image"]), "a version that never becomes another"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(service["healthcheck"]["timeout"]) < seconds(service["healthcheck"]["interval"])
    mounts = [volume.split(":") for volume in service.get("volumes", [])]
    assert {tuple(mount) for mount in mounts if mount[0].startswith(".")} <= {
        (source, target, "ro") for source, target in OF_THE_CHECKOUT.items()
    }
    kept = {mount[0]: mount[1] for mount in mounts if not mount[0].startswith(".")}
    assert kept == ({name: DATA[name]} if name in DATA else {})
    assert set(kept) <= set(DOCUMENT["volumes"])


def test_dashboards_and_alerts_start_only_with_their_profile() -> None:
    assert {name for name in SERVICES if "profiles" in SERVICES[name]} == {"prometheus", "grafana"}
    assert {profile for name in ("prometheus", "grafana") for profile in SERVICES[name]["profiles"]} == {"observe"}


def test_prometheus_scrapes_every_role_at_its_port() -> None:
    path = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    [scraped] = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
    found = {(name, part["port"]) for part in scraped["dns_sd_configs"] for name in part["names"]}
    assert found == {(name, metrics_port(SERVICES[name]["environment"])) for name in ROLES}
    assert {part["type"] for part in scraped["dns_sd_configs"]} == {"A"}


def metrics_port(environment: dict[str, str]) -> int:
    return int(environment.get("API_METRICS_PORT") or environment["METRICS_PORT"])


def test_no_health_check_asks_for_readiness() -> None:
    """A restart repairs no server: an unavailable one must not restart the roles."""
    text = compose_file.COMPOSE_FILE.read_text() + image.DOCKERFILE.read_text()
    checks = [SERVICES[name].get("healthcheck", {}) for name in OURS]
    assert checks == [{"disable": True}, *({} for _ in ROLES)]
    assert "/livez" in image.read().healthcheck[-1]
    assert "/readyz" not in text


def test_the_image_runs_as_an_unprivileged_user() -> None:
    user, _, group = image.read().user.partition(":")
    assert int(user) >= 1_000
    assert int(group) >= 1_000


def test_the_broker_of_the_file_is_the_one_of_the_tests() -> None:
    version = SERVICES["kafka"]["image"].partition(":")[2]
    locked = (ROOT / "gengui_stream" / "dev" / "kafka" / "jars.lock").read_text(encoding="utf-8")
    assert f" org.apache.kafka:kafka-clients:{version}\n" in locked


REQUIRED: Final = (
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "GROWTHBOOK_JWT_SECRET",
    "GROWTHBOOK_ENCRYPTION_KEY",
)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_variable_that_is_missing_is_named_with_the_remedy(name: str, value: str | None) -> None:
    environ = {**compose_file.example_environ(), name: value}
    given = {name: value for name, value in environ.items() if value is not None}
    with pytest.raises(compose_file.MissingVariable) as refused:
        compose_file.read(given)
    assert f"{name} is missing a value: run `cp .env.docker.example .env`" in str(refused.value)


def test_only_those_are_needed() -> None:
    assert set(compose_file.example_environ()) == set(REQUIRED)


def environment_with(**changes: str) -> dict[str, str]:
    document = compose_file.read({**compose_file.example_environ(), **changes})
    environ: dict[str, str] = document["services"]["api"]["environment"]
    return environ


def test_flags_come_from_the_container_once_there_is_a_client_key() -> None:
    assert environment_with()["GROWTHBOOK_API_HOST"] == ""
    with_key = environment_with(GROWTHBOOK_CLIENT_KEY="sdk-1", GROWTHBOOK_API_HOST="http://localhost:3100")
    assert (with_key["GROWTHBOOK_API_HOST"], with_key["GROWTHBOOK_CLIENT_KEY"]) == ("http://growthbook:3100", "sdk-1")
    elsewhere = environment_with(GROWTHBOOK_CLIENT_KEY="sdk-1", CONTAINERS_GROWTHBOOK_API_HOST="https://flags.example")
    assert elsewhere["GROWTHBOOK_API_HOST"] == "https://flags.example"


def test_an_empty_address_of_the_object_store_means_aws() -> None:
    amazon = environment_with(S3_ENDPOINT="", S3_PUBLIC_ENDPOINT="")
    assert (amazon["S3_ENDPOINT"], amazon["S3_PUBLIC_ENDPOINT"]) == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "a-a"),
        ("$$A", "$A"),
        ("${NONE}", ""),
        ("${NONE-x}${EMPTY-x}${NONE:-x}${EMPTY:-x}", "xxx"),
        ("${A:+yes}${EMPTY:+yes}${EMPTY+yes}", "yesyes"),
        ("${NONE:-${A}b}", "ab"),
        ("${A:+${NONE:-c}}", "c"),
    ],
)
def test_variables_are_resolved_as_the_specification_says(text: str, expected: str) -> None:
    assert compose_file.interpolated(text, {"A": "a", "EMPTY": ""}) == expected


OF_THE_CALLER: Final = frozenset({"ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"})
"""What the `make` that runs the tests was given, and hands on by the environment."""


def make(target: str, directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    """`make TARGET` where `docker` is this script."""
    (directory / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "docker").chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    environ = {**inherited, "PATH": f"{directory}:{os.environ['PATH']}"}
    arguments = ["make", "--silent", target]
    return subprocess.run(arguments, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["docker-up", "docker-down", "docker-logs"])
def test_without_docker_make_says_what_is_missing(target: str, tmp_path: Path) -> None:
    ran = make(target, tmp_path, "exit 1")
    assert ran.returncode != 0
    assert "Docker Engine with its compose plugin" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("target", "command"),
    [("docker-up", "compose up --detach"), ("docker-down", "compose down"), ("docker-logs", "compose logs --follow")],
)
def test_with_docker_make_calls_compose(target: str, command: str, tmp_path: Path) -> None:
    ran = make(target, tmp_path, f'echo "$@" >> {tmp_path}/called')
    called = (tmp_path / "called").read_text().splitlines()
    assert (ran.returncode, called[-1]) == (0, command)


def test_the_check_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text("services:\n  a: {image: b, prots: []}\n")
    code = f"""
import sys
from pathlib import Path
from tests.deploy import compose_file
compose_file.COMPOSE_FILE = Path({str(broken)!r})
sys.exit(compose_file.main())
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "docker-compose.yml: " in ran.stderr
    assert "prots" in ran.stderr
    assert "Traceback" not in ran.stderr
