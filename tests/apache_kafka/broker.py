"""One broker of Apache Kafka (KRaft: its own controller), started from its jars as the embedded servers are."""

from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from gengui_stream.dev.child import Child, listens
from gengui_stream.dev.ports import free_port
from gengui_stream.errors import TransientError
from tests.apache_kafka.jars import kept_jars

# Ready soon on a small heap; a broker that lives for minutes gains nothing from the optimizing compiler.
JAVA: Final = (
    *("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

CLUSTER: Final = "Z2VuZ3VpLXN0cmVhbS0wMQ"
"""Sixteen bytes in base64, always the same: one of 64 random ones begins with a dash and is taken for an option."""

PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}

# A topic that is asked for before it is made is a mistake, as it is in production.
auto.create.topics.enable=false

# There is no second broker, and no need for the usual 50 partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# A new group would wait 3 s for further members: every test begins with a new group.
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
"""


class ApacheKafkaServer:
    """Topics, records and groups are kept in `directory` over a restart."""

    def __init__(self, directory: Path, log: Path) -> None:
        self._directory = directory
        self._controller = free_port()
        self.port = free_port()
        self.child = Child("apache-kafka", log)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        properties = self._directory / "server.properties"
        data = self._directory / "data"
        properties.write_text(PROPERTIES.format(port=self.port, controller=self._controller, data=data))
        if not (data / "meta.properties").exists():
            await self._format(properties)
        self.child.start(_java("kafka.Kafka", properties))
        await self.child.until_ready(self._answers, 60)

    async def _format(self, properties: Path) -> None:
        """KRaft wants its data directory made beforehand, for one cluster."""
        formatting = Child("format", self.child.log)
        formatting.start(_java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", properties))
        await formatting.ended()
        if formatting.exit_code:
            raise TransientError(f"the data directory could not be made:\n{formatting.log_tail()}")

    async def _answers(self) -> bool:
        """Whether clients are told of a broker: while it registers with its controller, there is none."""
        if not await listens(self.port):
            return False
        admin = AIOKafkaAdminClient(bootstrap_servers=[self.address])
        try:
            await admin.start()
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
        return True

    async def stop(self) -> None:
        await self.child.stop(grace_s=15)


def _java(main: str, *arguments: str | Path) -> list[str | Path]:
    return [*JAVA, "-cp", f"{kept_jars()}/*", main, *arguments]
