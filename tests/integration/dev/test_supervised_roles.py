"""The roles that `dev` starts."""

import asyncio
import os
from pathlib import Path

import pytest

from gengui_stream.dev.processes.supervisor import Supervisor
from gengui_stream.errors import ConfigurationError
from gengui_stream.roles import ROLES


def test_a_role_that_is_left_out_is_not_started(tmp_path: Path) -> None:
    def supervised(*without: str) -> Supervisor:
        return Supervisor(tmp_path, {}, (), metrics_ports={}, say=lambda _: None, without=without)

    every, some = supervised(), supervised("worker")
    assert every.roles.keys() == ROLES.keys()
    assert every.roles.keys() - some.roles.keys() == {"worker"}


async def test_a_role_with_faulty_settings_is_not_started_forever(tmp_path: Path) -> None:
    said: list[str] = []
    environ = {"PATH": os.environ["PATH"], "PORT": "many"}
    others = [role for role in ROLES if role != "bridge"]
    supervisor = Supervisor(tmp_path, environ, (), metrics_ports={}, say=said.append, cwd=tmp_path, without=others)
    await supervisor.start()
    async with asyncio.timeout(60):
        with pytest.raises(ConfigurationError) as refused:
            await supervisor.watch()
    [fault] = refused.value.faults
    assert fault.startswith(f"bridge does not start; the end of {tmp_path}/logs/bridge.log:\n")
    assert "PORT: must be a whole number" in fault
    assert [line.partition(";")[0] for line in said[:1]] == ["bridge ended (78)"]
