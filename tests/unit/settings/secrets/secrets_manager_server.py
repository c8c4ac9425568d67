"""A server that speaks the protocol of AWS Secrets Manager, as far as reading a secret needs it.

JSON 1.1 of AWS: a POST whose `X-Amz-Target` is the operation, with a signature of version 4 in `Authorization`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

TARGET: Final = "secretsmanager.GetSecretValue"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of every request for a secret."""

    code: str
    message: str
    status: int = 400


@dataclass(slots=True)
class SecretsManager:
    """`secrets`: by name; bytes for a binary one. `regions`: of the signatures of all requests."""

    secrets: dict[str, str | bytes | Refusal]
    regions: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """For a process whose secrets are here."""
        return {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-process",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, object]]:
        if headers.get("X-Amz-Target") != TARGET:
            return _refused(Refusal("UnknownOperationException", "no such operation"))
        scope = headers.get("Authorization", "").partition("Credential=")[2].split("/")
        if len(scope) < 4 or scope[3] != "secretsmanager":
            return _refused(Refusal("UnrecognizedClientException", "The security token is invalid."))
        self.regions.append(scope[2])
        name = json.loads(body)["SecretId"]
        match self.secrets.get(name):
            case Refusal() as refusal:
                return _refused(refusal)
            case str() as text:
                return 200, {"Name": name, "SecretString": text}
            case bytes() as binary:
                return 200, {"Name": name, "SecretBinary": binary.hex()}
            case None:
                return _refused(
                    Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
                )


def _refused(refusal: Refusal) -> tuple[int, Mapping[str, object]]:
    return refusal.status, {"__type": refusal.code, "message": refusal.message}


@contextmanager
def secrets_manager(secrets: Mapping[str, str | bytes | Refusal]) -> Iterator[SecretsManager]:
    manager = SecretsManager(dict(secrets))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = manager.answer(dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        manager.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield manager
        finally:
            server.shutdown()
            thread.join()
