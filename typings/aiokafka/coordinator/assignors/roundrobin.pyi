from collections.abc import Iterable, Mapping
from typing import ClassVar

class RoundRobinPartitionAssignor:
    name: ClassVar[str]
    @classmethod
    def metadata(cls, topics: Iterable[str]) -> object: ...
    @classmethod
    def assign(cls, cluster: object, members: Mapping[str, object]) -> object: ...
    @classmethod
    def on_assignment(cls, assignment: object) -> None: ...
