"""The health port of a process, through the socket: its responses, and the choice of the port."""

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gengui_stream.errors import ConfigurationError
from gengui_stream.health import liveness
from gengui_stream.health.liveness import STALLED_AFTER_S, WORK_STALLED_AFTER_S, Health, ticking
from gengui_stream.health.server import served_health
from gengui_stream.metrics import Metrics, new_metrics
from gengui_stream.roles import ROLES, Role
from gengui_stream.settings import Settings, load_settings

ANY_PORT = load_settings({"METRICS_PORT": "0"}, env_files=())
UNSET = load_settings({}, env_files=())


@contextmanager
def served(
    health: Health | None = None,
    settings: Settings = ANY_PORT,
    role: Role = ROLES["bridge"],
    metrics: Metrics | None = None,
) -> Iterator[int]:
    registry = metrics.registry if metrics else CollectorRegistry()
    with served_health(settings, role, health or Health(), registry) as port:
        yield port


def get(port: int, path: str, method: str = "GET") -> tuple[int, Message, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def livez(port: int) -> tuple[int, Any]:
    status, headers, body = get(port, "/livez")
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_waits_for_its_servers_is_alive() -> None:
    health = Health(Clock())
    with served(health) as port:
        assert livez(port) == (200, {"status": "starting", "tick_age_s": 0.0})
        health.started()
        assert livez(port) == (200, {"status": "alive", "tick_age_s": 0.0})
        health.starting()
        assert livez(port) == (200, {"status": "starting", "tick_age_s": 0.0})


def test_a_loop_without_a_tick_for_ten_seconds_is_stalled_until_its_next() -> None:
    clock = Clock()
    health = Health(clock)
    health.started()
    with served(health) as port:
        clock.now += STALLED_AFTER_S
        assert livez(port) == (200, {"status": "alive", "tick_age_s": 10.0})
        clock.now += 2.5
        assert livez(port) == (503, {"status": "stalled", "tick_age_s": 12.5})
        health.tick()
        assert livez(port) == (200, {"status": "alive", "tick_age_s": 0.0})


async def test_a_running_loop_ticks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "TICK_EVERY_S", 0.05)
    clock = Clock()
    health = Health(clock)
    with ticking(health):
        for _ in range(2):
            clock.now += 60
            async with asyncio.timeout(10):
                while not health.liveness().live:
                    await asyncio.sleep(0.01)


def test_metrics_are_served_in_the_form_that_is_asked_for() -> None:
    metrics = new_metrics()
    metrics.observe_job("thumbnail", "done", 0.2)
    with served(metrics=metrics) as port:
        status, headers, body = get(port, "/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    assert 'gengui_jobs_done_total{kind="thumbnail",outcome="done"} 1.0' in body.decode()
    assert b"process_resident_memory_bytes" in body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/x", "/readyz/", "/favicon.ico", "/..%2fmetrics"])
def test_anything_else_is_not_there(path: str) -> None:
    with served() as port:
        assert get(port, path)[0] == 404


def test_only_reading_is_allowed() -> None:
    with served() as port:
        assert get(port, "/livez", "POST")[0] == 405
        assert get(port, "/metrics", "POST")[0] == 405
        assert get(port, "/livez", "HEAD")[::2] == (200, b"")


def test_an_invalid_request_delays_no_other() -> None:
    with served() as port:
        silent = socket.create_connection(("127.0.0.1", port))
        rude = socket.create_connection(("127.0.0.1", port))
        rude.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
        rude.close()
        assert livez(port)[0] == 200
        silent.close()


def test_it_is_gone_when_the_process_ends() -> None:
    with served() as port:
        pass
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(port, "/livez")
    assert [thread.name for thread in threading.enumerate() if thread.name == "health"] == []


# which port


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_each_role_but_the_api_has_a_default_port_of_its_own() -> None:
    ports = [role.metrics_port for role in ROLES.values()]
    assert ports == [None, *range(9101, 9108)]


def test_the_default_port_is_taken_where_it_is_free() -> None:
    with taken_port() as port:
        pass
    with served(settings=UNSET, role=replace(ROLES["bridge"], metrics_port=port)) as found:
        assert found == port


def test_two_of_one_role_do_not_collide() -> None:
    with taken_port() as port:
        role = replace(ROLES["worker"], metrics_port=port)
        with (
            capture_logs() as logs,
            served(settings=UNSET, role=role) as one,
            served(settings=UNSET, role=role) as other,
        ):
            assert len({port, one, other}) == 3
            assert livez(one)[0] == livez(other)[0] == 200
    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert [(log["event"], log["role"], log["wanted"], log["port"]) for log in warnings] == [
        ("default_metrics_port_taken", "worker", port, found) for found in (one, other)
    ]


def test_a_port_that_is_named_is_taken_or_refused() -> None:
    with taken_port() as port:
        settings = load_settings({"METRICS_PORT": str(port)}, env_files=())
        with pytest.raises(ConfigurationError) as refused, served(settings=settings):
            pass
    [fault] = refused.value.faults
    assert fault.startswith(f"METRICS_PORT: cannot listen on 127.0.0.1:{port}: Address already in use; ")
    assert "unset" in fault


def test_a_host_that_is_none_is_named() -> None:
    nowhere = "203.0.113.7"
    cases = [({"HOST": nowhere}, "HOST"), ({"HOST": nowhere, "METRICS_PORT": "0"}, "METRICS_PORT")]
    for environ, name in [*cases, ({"METRICS_HOST": nowhere}, "METRICS_HOST")]:
        settings = load_settings(environ, env_files=())
        with (
            pytest.raises(ConfigurationError, match=rf"{name}: cannot listen on 203\.0\.113\.7"),
            served(settings=settings),
        ):
            pass


def test_it_listens_on_ipv6_too() -> None:
    settings = load_settings({"HOST": "::1", "METRICS_PORT": "0"}, env_files=())
    with served(settings=settings) as port, urllib.request.urlopen(f"http://[::1]:{port}/livez", timeout=5) as answer:
        assert answer.status == 200


def test_the_process_does_not_depend_on_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> str:
        raise AssertionError("the resolver was asked")

    asked: Callable[..., str] = resolve
    monkeypatch.setattr(socket, "getfqdn", asked)
    with served() as port:
        assert livez(port)[0] == 200


def test_a_process_is_ready_once_its_servers_are_and_stalled_when_its_work_is_not_done() -> None:
    clock, work = Clock(), [0.0]
    health = Health(clock=lambda: clock.now)
    with served(health) as port:
        assert get(port, "/readyz")[0] == 503
        health.started()
        assert get(port, "/readyz")[0] == 200
        health.watch(lambda: work[0])
        work[0] = WORK_STALLED_AFTER_S
        assert livez(port) == (200, {"status": "alive", "tick_age_s": 0.0, "work_age_s": 300.0})
        work[0] += 1
        assert livez(port) == (503, {"status": "stalled", "tick_age_s": 0.0, "work_age_s": 301.0})
        assert get(port, "/readyz")[0] == 503
