"""One rule for all clients of HTTP: HTTP_PROXY, HTTPS_PROXY and NO_PROXY apply, and never to this machine."""

from collections.abc import MutableMapping
from typing import Final

LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def keep_local_direct(environ: MutableMapping[str, str]) -> None:
    """Adds this machine to NO_PROXY, in both of its spellings: of two that are set, the lower-case one counts."""
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:
        return
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join([*hosts, *(host for host in LOCAL if host not in hosts)])
