"""Free ports on the loopback address."""

import random
import socket
from typing import Final

LOWEST, HIGHEST = 20_000, 32_000
"""Below the range from which systems take the ports of outgoing connections."""

GRPC_DISTANCE: Final = 10_000
"""SeaweedFS listens at each of its ports plus this for gRPC."""


def is_free(port: int) -> bool:
    """Whether a server could listen there: connections that only linger from before are in nobody's way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody listens at, and whose gRPC companion is free as well. Raises OSError when there is none."""
    for _ in range(1_000):
        port = random.randrange(LOWEST, HIGHEST)  # noqa: S311 - to stay out of each other's way, not a secret
        if is_free(port) and is_free(port + GRPC_DISTANCE):
            return port
    raise OSError(f"no free port found between {LOWEST} and {HIGHEST}")
