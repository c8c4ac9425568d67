"""Writes jars.lock from requirements/kafka-pom.xml. For maintainers: it needs a checkout and Maven.

python -m gengui_stream.dev.kafka.lock_renewal
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from gengui_stream.dev.kafka.jars import LOCK, Jar

POM: Final = Path(__file__).parents[3] / "requirements" / "kafka-pom.xml"
PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin"
HEAD: Final = (
    "# Apache Kafka's broker and what it needs: SHA-256, bytes, group:artifact:version. `make lock-kafka` renews it.\n"
)
RESOLVED: Final = re.compile(
    r"^ +(?P<group>[\w.-]+):(?P<artifact>[\w.-]+):jar:(?P<version>[\w.-]+):(?:compile|runtime)\b", re.MULTILINE
)


def renew(maven: str) -> None:
    """Raises CalledProcessError when Maven fails; it has said why."""
    with tempfile.TemporaryDirectory() as name:
        jars, listed = Path(name) / "jars", Path(name) / "list"
        goals = [f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={jars}", f"{PLUGIN}:list", f"-DoutputFile={listed}"]
        # -C: a download that differs from its checksum is a failure
        subprocess.run([maven, "-B", "-q", "-C", "-f", POM, *goals], stdin=subprocess.DEVNULL, check=True)
        found = [_jar(match, jars) for match in RESOLVED.finditer(listed.read_text())]
        lines = [f"{jar.sha256} {jar.size} {jar}\n" for jar in sorted(found, key=str)]
        LOCK.write_text(HEAD + "".join(lines))


def _jar(found: re.Match[str], jars: Path) -> Jar:
    content = (jars / f"{found['artifact']}-{found['version']}.jar").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Jar(digest, len(content), found["group"], found["artifact"], found["version"])


def main() -> int:
    maven = shutil.which("mvn")
    if maven is None:
        sys.stderr.write("Maven is missing: install it with your system's packages\n")
        return 1
    try:
        renew(maven)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
