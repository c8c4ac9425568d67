"""Apache Kafka's jars: fetched by Maven, kept in the checkout, and each checked against `jars.sha256` at every use.

python -m tests.apache_kafka.jars           # exit 0: they are here; 75: they cannot be had, and why; 1: they are wrong
python -m tests.apache_kafka.jars --lock    # write jars.sha256 anew, after a change of pom.xml
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
POM: Final = HERE / "pom.xml"
LOCK: Final = HERE / "jars.sha256"
KEPT: Final = HERE.parents[1] / ".cache" / "apache-kafka"
GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"
FETCH_S: Final = 420
JAVA: Final = 17
UNREACHABLE: Final = re.compile(r"could not transfer|unknown host|in offline mode|failed to transfer", re.IGNORECASE)
DAMAGED: Final = re.compile(r"checksum validation failed", re.IGNORECASE)
EXIT_UNAVAILABLE: Final = 75


class UnavailableError(Exception):
    """The broker cannot be had on this machine: its tests are to be skipped, with this reason."""


class WrongJarsError(Exception):
    """There is something, and it is not what the lock file says: nothing may run it."""


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*"))}


def locked() -> dict[str, str]:
    """As `sha256sum` writes it."""
    lines = (line.split(maxsplit=1) for line in LOCK.read_text().splitlines())
    return {name: digest for digest, name in lines}


def check(folder: Path, expected: Mapping[str, str]) -> None:
    """Raises WrongJarsError naming every file that is missing, different, or not in the lock."""
    found = sums(folder)
    faults = [
        *(f"missing: {name}" for name in expected.keys() - found.keys()),
        *(f"not in the lock: {name}" for name in found.keys() - expected.keys()),
        *(f"different: {name}" for name in expected.keys() & found.keys() if expected[name] != found[name]),
    ]
    if faults:
        raise WrongJarsError("; ".join(sorted(faults)))


def kept_jars() -> Path:
    """The folder of the checked jars, without asking anybody for them."""
    try:
        check(KEPT, locked())
    except WrongJarsError as error:
        raise WrongJarsError(f"{KEPT}: run `make test-kafka`, which fetches what is needed ({error})") from error
    return KEPT


def fetch_jars() -> None:
    """Nothing where they are kept already. Only what was checked is kept."""
    require_java()
    try:
        check(KEPT, locked())
    except WrongJarsError:
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT.parent) as scratch:
            fetched = Path(scratch) / "jars"
            copy_dependencies(fetched)
            check(fetched, locked())
            shutil.rmtree(KEPT, ignore_errors=True)
            fetched.rename(KEPT)


def require_java() -> None:
    """Raises UnavailableError where the broker could not run."""
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"Java {JAVA} is missing ({error})") from error
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA:
        raise UnavailableError(f"Java {JAVA} is needed, and this is {said.splitlines()[0]}")


def copy_dependencies(folder: Path) -> None:
    """Raises UnavailableError without Maven or without what it fetches from, WrongJarsError when that is damaged."""
    # -U: ask again for what could not be had the last time; -C: a download that differs from its checksum is a failure
    command: list[str | Path] = ["mvn", "-B", "-q", "-U", "-C", "-f", POM, GOAL, f"-DoutputDirectory={folder}"]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except FileNotFoundError as error:
        raise UnavailableError("Maven is missing") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"Maven Central did not give them within {FETCH_S} s") from error
    if ended.returncode:
        raise failure(ended.stdout + ended.stderr)


def failure(output: str) -> Exception:
    """Maven Central out of reach is not our fault; anything else is to be looked at."""
    if UNREACHABLE.search(output) and not DAMAGED.search(output):
        return UnavailableError("Maven Central cannot be reached")
    return WrongJarsError(f"Maven failed:\n{output.strip()}")


def write_lock() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        copy_dependencies(Path(scratch))
        LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in sums(Path(scratch)).items()))


def main(*arguments: str) -> int:
    try:
        write_lock() if "--lock" in arguments else fetch_jars()
    except UnavailableError as error:
        print(f"The tests on Apache Kafka are skipped: {error}.")
        return EXIT_UNAVAILABLE
    except WrongJarsError as error:
        print(f"the jars of Apache Kafka are not those of {LOCK.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
