"""Free ports on the loopback address."""

import random
import socket
from collections.abc import Sequence
from itertools import chain
from typing import Final

from gengui_stream.roles import ROLES

GRPC_DISTANCE: Final = 10_000
"""SeaweedFS listens on each of its ports plus this for gRPC."""

CHOICE: Final = range(12_000, 22_000)
"""With their companions below the range from which the kernel takes the ports of outgoing connections: from 32,768 on
Linux, from 49,152 on macOS."""


def is_free(port: int) -> bool:
    """Whether a server could listen there: a connection in TIME_WAIT does not prevent it."""
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
    """A port without a listener, whose gRPC companion is free as well. Raises OSError if there is none.

    It is reserved: until a server listens there, no other call returns it, in this process or another, for as long as
    TIME_WAIT takes.
    """
    first = random.randrange(len(choice))
    for port in chain(choice[first:], choice[:first]):
        if _reserve(port) and _reserve(port + GRPC_DISTANCE):
            return port
    raise OSError(f"no free port found between {min(choice)} and {max(choice)}")


def default_metrics_ports() -> dict[str, int]:
    """A port for each role but the API, reserved as `free_port` does: the role's default port if it can be had."""
    wanted = {role.name: role.metrics_port for role in ROLES.values() if role.metrics_port is not None}
    return {name: port if _reserve(port) else free_port() for name, port in wanted.items()}


def free_metrics_ports() -> dict[str, int]:
    """The default port of each role but the API, whether it is free or not."""
    return {role.name: free_port() for role in ROLES.values() if role.metrics_port is not None}


def _reserve(port: int) -> bool:
    """Leaves a connection in TIME_WAIT (60 s on Linux, 30 s on macOS). While it is there, the port cannot be bound
    without SO_REUSEADDR, as is done here, nor does the kernel take it for an outgoing connection. Servers set
    SO_REUSEADDR and are not affected."""
    address = ("127.0.0.1", port)
    try:
        with socket.socket() as listener:
            listener.bind(address)
            # The connection inherits it; on Linux, a server can only bind if both have it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.listen()
            with socket.create_connection(address, timeout=1) as client:
                _close_first(listener, client)
    except OSError:  # taken; or another process connected first, to a server that it expects there
        return False
    return True


def _close_first(listener: socket.socket, client: socket.socket) -> None:
    """The side that closes first is the one in TIME_WAIT."""
    accepted, _ = listener.accept()
    accepted.close()
    client.recv(1)
