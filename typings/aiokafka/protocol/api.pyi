from typing import TypedDict, TypeVar

S = TypeVar("S")

class DescribedPartition(TypedDict):
    partition: int
    leader: int
    replicas: list[int]
    isr: list[int]

class DescribedTopic(TypedDict):
    topic: str
    error_code: int
    partitions: list[DescribedPartition]

class Metadata(TypedDict):
    topics: list[DescribedTopic]

class Request:
    def build(self, request_struct_class: type[S]) -> S: ...

class Response:
    def to_object(self) -> Metadata: ...
