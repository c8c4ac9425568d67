from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from aiokafka.protocol.types import Schema

class Struct:
    SCHEMA: ClassVar[Schema]
    def __init__(self, *arguments: object) -> None: ...

class Response(Struct):
    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]

class RequestStruct(Struct):
    FLEXIBLE_VERSION: ClassVar[bool]
    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]
    RESPONSE_TYPE: ClassVar[type[Response]]

T_co = TypeVar("T_co", bound=RequestStruct, covariant=True)

class Request(ABC, Generic[T_co]):
    API_KEY: ClassVar[int]
    @abstractmethod
    def build(self, request_struct_class: type[T_co]) -> T_co: ...
