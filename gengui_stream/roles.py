"""The registry of roles: the name of each, its command, and its port for `/livez` and `/metrics`.

It imports nothing, so that every module may import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

RoleName: TypeAlias = Literal["api", "agents", "live-tables", "dispatch", "worker", "thumbnails", "bridge"]


@dataclass(frozen=True, slots=True)
class Role:
    """`arguments`: of `gengui-stream`. `metrics_port`: its default port on HOST, which METRICS_PORT overrides; None for
    the API, which uses PORT."""

    name: RoleName
    arguments: tuple[str, ...]
    metrics_port: int | None


_ALL: Final = (
    Role("api", ("api",), None),
    Role("agents", ("agents",), 9101),
    Role("live-tables", ("agents", "--app", "live-tables"), 9102),
    Role("dispatch", ("dispatch",), 9103),
    Role("worker", ("worker",), 9104),
    Role("thumbnails", ("thumbnails",), 9105),
    Role("bridge", ("bridge",), 9106),
)

ROLES: Final[Mapping[str, Role]] = MappingProxyType({role.name: role for role in _ALL})
"""By name, in the order in which they are started and shown."""
