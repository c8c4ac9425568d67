"""`make setup`: which Python it selects, and when it recreates the environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BASH = shutil.which("bash") or "bash"


class Machine:
    """A path with programs of the test and nothing else."""

    def __init__(self, directory: Path) -> None:
        self.path, self.pyenv = directory / "bin", directory / "pyenv"
        self.path.mkdir()
        self.pyenv.mkdir()

    def found(self, *arguments: str) -> list[str]:
        command = [BASH, "requirements/find_python", *arguments]
        environ = {"PATH": str(self.path), "PYENV_ROOT": str(self.pyenv)}
        run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()


def program(path: Path, line: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{BASH}\n{line}\n")
    path.chmod(0o755)
    return str(path)


def python(path: Path, minor: int) -> str:
    """Prints only its own path, if the requested version is its own."""
    return program(path, f'test "${{@: -1}}" != {minor} || echo "$0"')


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_that_is_supported_is_found(machine: Machine) -> None:
    for minor in (10, 11, 12, 14):
        python(machine.path / f"python3.{minor}", minor)
    assert machine.found() == [str(machine.path / "python3.12")]
    assert machine.found("--all") == [str(machine.path / "python3.12"), str(machine.path / "python3.11")]


def test_a_shim_that_does_not_run_is_passed_over(machine: Machine) -> None:
    program(machine.path / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    plain = python(machine.path / "python3", 11)
    assert machine.found() == [plain]


def test_versions_of_pyenv_are_found_without_its_shims(machine: Machine) -> None:
    python(machine.path / "python", 12)
    installed = python(machine.pyenv / "versions" / "3.13.0" / "bin" / "python", 13)
    assert machine.found() == [installed]


def test_without_any_nothing_is_found(machine: Machine) -> None:
    assert machine.found() == []


def test_this_python_is_found(machine: Machine) -> None:
    (machine.path / "python3").symlink_to(sys.executable)
    assert len(machine.found()) == 1


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """As `make setup` leaves it."""
    made = tmp_path / "environment"
    (made / "bin").mkdir(parents=True)
    (made / "pyvenv.cfg").touch()
    (made / "bin" / "python").symlink_to(sys.executable)
    (made / "bin" / "uv").touch()
    (made / ".installed").write_text(f"{ROOT}\n")
    return made


def recreated(environment: Path, *arguments: str) -> bool:
    command = [shutil.which("make") or "make", "-n", "setup", f"VENV={environment}", *arguments]
    environ = {"PATH": "/usr/bin:/bin", "PYENV_ROOT": "/nowhere"}  # no long search for a Python
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    return f"rm -rf {environment}" in run.stdout


def test_a_whole_environment_stays(environment: Path) -> None:
    assert not recreated(environment)
    assert not recreated(environment, f"PYTHON={sys.executable}")


def test_an_environment_whose_python_is_gone_is_recreated(environment: Path) -> None:
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nowhere/python")
    assert recreated(environment)


def test_an_environment_of_a_python_that_is_not_supported_is_recreated(environment: Path) -> None:
    (environment / "bin" / "python").unlink()
    program(environment / "bin" / "python", "echo 3 10; exit 1")
    assert recreated(environment)


def test_an_environment_of_another_python_than_the_one_asked_for_is_recreated(environment: Path) -> None:
    other = program(environment.parent / "other", "echo 3 9")
    assert recreated(environment, f"PYTHON={other}")


def test_an_environment_of_a_checkout_that_was_moved_is_recreated(environment: Path) -> None:
    (environment / ".installed").write_text("/where/it/was\n")
    assert recreated(environment)


def test_an_unfinished_environment_is_recreated(environment: Path) -> None:
    (environment / ".installed").unlink()
    assert recreated(environment)


def test_a_directory_that_is_no_environment_is_never_removed(environment: Path) -> None:
    (environment / "pyvenv.cfg").unlink()
    assert not recreated(environment)
