"""Free ports on the loopback address."""

import random
import socket
from collections.abc import Sequence
from itertools import chain
from typing import Final

from gengui_stream.roles import ROLES

GRPC_DISTANCE: Final = 10_000
"""SeaweedFS listens at each of its ports plus this for gRPC."""

CHOICE: Final = range(12_000, 22_000)
"""With their companions below the range from which Linux takes the ports of outgoing connections (32,768 and up)."""


def is_free(port: int) -> bool:
    """Whether a server could listen there: connections that only linger from before are in nobody's way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_free_with_companion(port: int) -> bool:
    return is_free(port) and is_free(port + GRPC_DISTANCE)


def free_port(choice: Sequence[int] = CHOICE) -> int:
    """A port nobody listens at, and whose gRPC companion is free as well. Raises OSError when there is none.

    For a minute no other call returns it, in this process or another: so long a server has to take it.
    """
    first = random.randrange(len(choice))  # noqa: S311 - no secret
    for port in chain(choice[first:], choice[:first]):
        if _reserve(port) and _reserve(port + GRPC_DISTANCE):
            return port
    raise OSError(f"no free port found between {min(choice)} and {max(choice)}")


def default_metrics_ports() -> dict[str, int]:
    """A port for each role but the API: its default one where that is free."""
    wanted = {role.name: role.metrics_port for role in ROLES.values() if role.metrics_port is not None}
    return {name: port if is_free(port) else free_port() for name, port in wanted.items()}


def free_metrics_ports() -> dict[str, int]:
    """A port for each role but the API, whatever runs beside on this machine."""
    return {role.name: free_port() for role in ROLES.values() if role.metrics_port is not None}


def _reserve(port: int) -> bool:
    """Leaves a connection that lingers (TIME_WAIT, 60 s on Linux). It keeps out whoever binds as is done here, and the
    kernel from giving the port to an outgoing connection; servers it lets in, as they set SO_REUSEADDR first."""
    address = ("127.0.0.1", port)
    try:
        with socket.socket() as listener:
            listener.bind(address)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # inherited by what lingers: both must agree
            listener.listen()
            with socket.create_connection(address, timeout=1) as client:
                _linger(listener, client)
    except OSError:  # taken; or the time is up, as someone else connects there and waits for a server of his own
        return False
    return True


def _linger(listener: socket.socket, client: socket.socket) -> None:
    accepted, _ = listener.accept()
    accepted.close()  # who closes first lingers
    client.recv(1)
