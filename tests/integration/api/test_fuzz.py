"""Bytes through the socket: no input is answered with a 500 or ends the process."""

import asyncio
import re
from urllib.parse import urlsplit

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.api.client import Client

ID = "0195b7a0-0000-7000-8000-000000000000"
TARGETS = [
    "/v1/generations",
    f"/v1/generations/{ID}",
    f"/v1/generations/{ID}/events",
    f"/v1/generations/{ID}/cancel",
    f"/v1/generations/{ID}/retry",
    f"/v1/generations/{ID}/stream",
    "/v1/worker/events",
    "/v1/stream",
    "/docs/assets/../../../etc/passwd",
    "/docs/assets/",
    "/livez",
    "*",
    "//",
    "http://elsewhere/v1/generations",
]
HEADERS = [
    "Last-Event-ID",
    "Idempotency-Key",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Transfer-Encoding",
    "Expect",
    "Range",
    "Accept-Encoding",
    "X-Request-ID",
    "traceparent",
    "Cookie",
    "Upgrade",
    "Host",
]
rubbish = st.binary(max_size=40).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
values = rubbish | st.sampled_from(
    [
        b"chunked",
        b"gzip",
        b"deflate",
        b"100-continue",
        b"application/json",
        b"0:1",
        b"-1",
        b"5",
        b"[::1",
        b"a b",
        b"%00",
    ]
)
queries = (
    st.just(b"")
    | st.builds(lambda raw: b"?" + raw.replace(b" ", b"%20"), rubbish)
    | st.builds(
        lambda name, raw: b"?" + name + b"=" + raw.replace(b" ", b"+"),
        st.sampled_from([b"limit", b"cursor", b"q", b"status", b"created_after", b"%ff"]),
        rubbish,
    )
)
bodies = st.binary(max_size=200) | st.sampled_from(
    [b'{"prompt": "x"}', b'{"events": [[]]}', b'{"events": [{"type": {}}]}', b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n"]
)
requests = st.builds(
    lambda method, target, query, headers, body: (method, target, query, tuple(headers), body),
    st.sampled_from([b"GET", b"POST", b"DELETE", b"HEAD", b"PUT", b"OPTIONS"]) | rubbish,
    st.sampled_from(TARGETS).map(str.encode) | rubbish.map(lambda raw: b"/" + raw),
    queries,
    st.lists(st.tuples(st.sampled_from(HEADERS).map(str.encode), values), max_size=4),
    bodies,
)
Request = tuple[bytes, bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes]


@given(request=requests)
@example(request=(b"GET", b"/v1/generations", b"", ((b"Expect", b"\x80"),), b""))
@example(request=(b"GET", b"*", b"", ((b"Expect", b"\x80"),), b""))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_request_is_answered_with_a_500(user: Client, request: Request) -> None:
    status, head = await _answer(user, _bytes(user, request))
    assert status is None or status < 500, request
    assert status is None or status < 400 or b"content-type: application/problem+json" in head.lower(), (request, head)
    async with user.session.get(f"{user.base}/livez") as answer:
        assert answer.status == 200


def _bytes(user: Client, request: Request) -> bytes:
    method, target, query, headers, body = request
    names = {name.lower() for name, _ in headers}
    lines = [method + b" " + target + query + b" HTTP/1.1", b"Authorization: Bearer " + user.key.encode()]
    lines += [name + b": " + value for name, value in headers]
    if b"host" not in names:
        lines.append(b"Host: 127.0.0.1")
    if not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    if b"content-type" not in names:
        lines.append(b"Content-Type: application/json")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def _answer(user: Client, sent: bytes) -> tuple[int | None, bytes]:
    status, head, _ = await _exchange(user, sent)
    return status, head


async def _exchange(user: Client, sent: bytes) -> tuple[int | None, bytes, bytes]:
    """Status, head and body of the first answer; no status when the server hangs up without one, or waits for more."""
    address = urlsplit(user.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length and not sent.startswith(b"HEAD ") else b""
        return (int(head.split()[1]) if head.startswith(b"HTTP/") else None), head, body
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        return None, b"", b""
    finally:
        writer.close()
