"""What aiokafka 0.14's idempotent producer lacks.

1. A newer request for the id that makes it idempotent. aiokafka knows version 0 alone (Kafka 0.11), to which the
embedded broker answers with an error: it wants the producer's id and epoch in the request (version 3, Kafka 2.5), where
-1 asks for new ones. Brokers that know no version 3 are asked as before.

2. Doubt. What the broker takes for a repetition, but cannot say where the first one is, aiokafka calls a success, at
offset -1. A broker that counts a batch before it writes it, and is killed in between, has counted what it never wrote:
a sent record would be lost though it was confirmed.

Drop each when aiokafka does it by itself.
"""

from aiokafka.producer import sender
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.transaction import InitProducerIdRequest_v0
from aiokafka.protocol.types import CompactString, Int16, Int32, Int64, Schema, TaggedFields

INIT_PRODUCER_ID = 22
NEW = -1


class InitProducerIdResponse_v3(Response):  # noqa: N801 - as aiokafka names its own
    API_KEY = INIT_PRODUCER_ID
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerIdRequest_v3(RequestStruct):  # noqa: N801
    API_KEY = INIT_PRODUCER_ID
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = InitProducerIdResponse_v3
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerId(Request[InitProducerIdRequest_v0 | InitProducerIdRequest_v3]):
    API_KEY = INIT_PRODUCER_ID

    def __init__(self, transactional_id: str | None, transaction_timeout_ms: int) -> None:
        self._transactional_id = transactional_id
        self._timeout_ms = transaction_timeout_ms

    def build(
        self, request_struct_class: type[InitProducerIdRequest_v0 | InitProducerIdRequest_v3]
    ) -> InitProducerIdRequest_v0 | InitProducerIdRequest_v3:
        if request_struct_class is InitProducerIdRequest_v3:
            return InitProducerIdRequest_v3(self._transactional_id, self._timeout_ms, NEW, NEW, {})
        return InitProducerIdRequest_v0(self._transactional_id, self._timeout_ms)


def ask_for_producer_ids_anew() -> None:
    """From now on, aiokafka's producers of this process use the newer request. To be called before they start."""
    sender.InitProducerIdRequest = InitProducerId


class _Nothing(Exception):  # noqa: N818 - never raised
    """What no broker answers."""


def distrust_repetitions() -> None:
    """From now on, a batch without a known place is a failed one: sent again, it is a duplicate at worst."""
    sender.DuplicateSequenceNumber = _Nothing
