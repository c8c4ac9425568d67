"""Refusals of requests that the parser does not accept. None of them repeats bytes of the request."""

from typing import Final

from aiohttp import http_exceptions

from api.http.problems import Refusal

LINE_MAX_BYTES: Final = 8_190
"""Of the request line: method, target and version."""
HEADER_MAX_BYTES: Final = 8_191
"""Of one header, with its name. Differs from LINE_MAX_BYTES, since the parser's error has nothing but the limit."""
HEADERS_MAX: Final = 128

_TOO_MANY: Final = "Too many headers received"


def refusal_of(error: BaseException | None) -> Refusal:
    match error:
        case http_exceptions.LineTooLong(args=(_, limit, *_)) if limit == LINE_MAX_BYTES:
            return Refusal(414, "target_too_long", f"the limit of the request line is {LINE_MAX_BYTES} bytes")
        case http_exceptions.LineTooLong():
            return Refusal(431, "headers_too_large", f"the limit of a header is {HEADER_MAX_BYTES} bytes")
        case http_exceptions.BadHttpMessage(message=message) if message == _TOO_MANY:
            return Refusal(431, "headers_too_large", f"the limit is {HEADERS_MAX} headers")
        case _:
            return Refusal(400, "malformed_request", f"this is not a valid HTTP request: {_reason(error)}")


def _reason(error: BaseException | None) -> str:
    match error:
        case http_exceptions.InvalidURLError():
            return "its target is not a URL"
        case http_exceptions.InvalidHeader():
            return "a header is not valid"
        case http_exceptions.BadHttpMethod():
            return "it has no known method"
        case http_exceptions.BadStatusLine():
            return "its first line has no known version"
        case http_exceptions.BadHttpMessage(message=message):
            return _sentence(message)
        case _:
            return "it cannot be parsed"


def _sentence(message: str) -> str:
    """The parser's own sentence: behind a colon at the end of the line it quotes the request."""
    return message.partition("\n")[0].rstrip(":.")
