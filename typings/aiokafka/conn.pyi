from collections.abc import Awaitable

class AIOKafkaConnection:
    def send(self, request: object, expect_response: bool = True) -> Awaitable[object]: ...
