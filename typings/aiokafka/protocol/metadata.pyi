from collections.abc import Sequence

from aiokafka.protocol.api import Request

class MetadataRequest_v5:
    allow_auto_topic_creation: bool

class MetadataRequest(Request):
    def __init__(self, topics: Sequence[str] | None = None, allow_auto_topic_creation: bool | None = None) -> None: ...
