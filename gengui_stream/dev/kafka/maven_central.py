"""Maven Central, the repository that Apache Kafka's jars come from, at the address that `maven-artifact` knows."""

from collections.abc import Iterator
from threading import Event
from typing import Final

import requests
from maven_artifact import Artifact, Downloader

from gengui_stream.dev.kafka.jar_cache import RepositoryUnavailableError
from gengui_stream.dev.kafka.jars import Jar
from gengui_stream.errors import TransientError

CONNECT_S: Final = 10.0
READ_S: Final = 20.0
"""Without a byte for so long, a download has stalled."""

CHUNK: Final = 1 << 16


class FetchCancelledError(TransientError):
    """The caller has no use for the file any more."""


class MavenCentral:
    """`base`: the URL of another repository of the same layout. Timeouts in seconds. May be used by several threads."""

    def __init__(self, base: str | None = None, *, connect_s: float = CONNECT_S, read_s: float = READ_S) -> None:
        self._downloader = Downloader(base) if base else Downloader()
        self._timeout = (connect_s, read_s)

    def chunks(self, jar: Jar, cancelled: Event) -> Iterator[bytes]:
        """The file, or what the server sent in its place: at most one chunk more than the jar's size. Raises
        RepositoryUnavailableError, and FetchCancelledError once `cancelled` is set."""
        _check(cancelled, jar)
        try:
            with self._open(jar) as response:
                received = 0
                for chunk in response.iter_content(CHUNK):
                    _check(cancelled, jar)
                    yield chunk
                    received += len(chunk)
                    if received > jar.size:
                        return
        except requests.RequestException as error:
            if error.response is not None:  # a refusal with its connection, which nothing else closes
                error.response.close()
            raise RepositoryUnavailableError(unavailable(jar, error)) from error

    def _open(self, jar: Jar) -> requests.Response:
        artifact = Artifact(jar.group, jar.artifact, jar.version)
        url = self._downloader.resolver.uri_for_artifact(artifact)
        return self._downloader.requestor.request(url, None, stream=True, timeout=self._timeout)


def _check(cancelled: Event, jar: Jar) -> None:
    if cancelled.is_set():
        raise FetchCancelledError(f"the download of {jar} was cancelled")


def unavailable(jar: Jar, error: requests.RequestException) -> str:
    answer = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
    return (
        f"Maven Central cannot be reached, where Apache Kafka comes from ({answer} for {jar}): run this once with "
        f"access to it ({_access(error)}), or run `make dev` with KAFKA_BOOTSTRAP_SERVERS set to a Kafka of your own"
    )


def _access(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "REQUESTS_CA_BUNDLE names a file with the certificate authorities of a proxy"
    return "HTTPS_PROXY names a proxy"
