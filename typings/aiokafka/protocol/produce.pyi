from collections.abc import Sequence

class ProduceRequest:
    def __init__(
        self,
        transactional_id: str | None,
        required_acks: int,
        timeout: int,
        topics: Sequence[tuple[str, Sequence[tuple[int, bytes]]]],
    ) -> None: ...

class ProduceResponse:
    topics: Sequence[tuple[str, Sequence[tuple[int, int, int, int, int]]]]
