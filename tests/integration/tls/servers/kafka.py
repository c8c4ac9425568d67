"""The embedded Apache Kafka with listeners that have TLS, by stores in PEM."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from gengui_stream.dev.kafka.broker import Broker
from gengui_stream.dev.kafka.data_directory import DataDirectory
from gengui_stream.dev.kafka.installation import install
from gengui_stream.dev.kafka.properties import Node, controller_port
from gengui_stream.dev.ports import free_port
from gengui_stream.dev.processes.child import Child
from tests.integration.tls.certificates import HOST, Certificates

Listener: TypeAlias = Literal["TLS", "MTLS", "SCRAM", "EXPIRED"]

PROTOCOLS: Final[Mapping[Listener, str]] = {"TLS": "SSL", "MTLS": "SSL", "SCRAM": "SASL_SSL", "EXPIRED": "SSL"}
USER: Final = "gengui"
PASSWORD: Final = "password-of-scram"

PROPERTIES: Final = """
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mtls.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={expired}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=\\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class _DirectoryWithTls(DataDirectory):
    def __init__(self, directory: Path, certificates: Certificates, ports: Mapping[Listener, int]) -> None:
        super().__init__(directory)
        self._certificates, self._ports = certificates, ports

    def prepare(self, node: Node) -> None:
        """The last of two lines with one name counts."""
        super().prepare(node)
        port = node.port
        plain, controller = f"PLAINTEXT://127.0.0.1:{port}", f"CONTROLLER://127.0.0.1:{controller_port(port)}"
        own = [f"{name}://{HOST}:{number}" for name, number in self._ports.items()]
        plain_ones = ("PLAINTEXT", "CONTROLLER")
        protocols = [*((name, "PLAINTEXT") for name in plain_ones), *PROTOCOLS.items()]
        lines = [
            f"listeners={','.join((plain, controller, *own))}",
            f"advertised.listeners={','.join((plain, *own))}",
            f"listener.security.protocol.map={','.join(f'{name}:{one}' for name, one in protocols)}",
        ]
        made = self._certificates
        stores = PROPERTIES.format(server=made.server.both, ca=made.ca, expired=made.expired.both)
        with self.properties.open("a") as file:
            file.write("\n".join(lines) + stores)


class KafkaWithTls:
    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self._folder, self._plain = folder, free_port()
        self._ports: Mapping[Listener, int] = {name: free_port() for name in PROTOCOLS}
        self._data = _DirectoryWithTls(folder, certificates, self._ports)
        self._child = Child("kafka", folder / "kafka.log")

    def address(self, listener: Listener, host: str = HOST) -> str:
        return f"{host}:{self._ports[listener]}"

    async def start(self) -> None:
        installed = await install(print)
        await Broker(self._child, self._data, Node((self._plain,)), installed.java).start(installed.template)
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._plain}"})
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        changes: list[UserScramCredentialAlteration] = [UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())]
        for change in admin.alter_user_scram_credentials(changes).values():
            change.result(timeout=30)

    async def stop(self) -> None:
        await self._child.stop(how=signal.SIGKILL)
