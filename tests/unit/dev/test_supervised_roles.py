"""The roles that `dev` starts."""

from pathlib import Path

from gengui_stream.dev.processes.supervisor import Supervisor
from gengui_stream.roles import ROLES


def test_a_role_that_is_left_out_is_not_started(tmp_path: Path) -> None:
    def supervised(*without: str) -> Supervisor:
        return Supervisor(tmp_path, {}, (), metrics_ports={}, say=lambda _: None, without=without)

    every, some = supervised(), supervised("worker")
    assert every.roles.keys() == ROLES.keys()
    assert every.roles.keys() - some.roles.keys() == {"worker"}
