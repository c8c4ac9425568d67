"""What browsers and caches are allowed to do with a response, and compression, through the socket."""

import gzip
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.http.compression import accepts_gzip
from gengui_stream.settings import Settings
from tests.unit.api.starting import Answer, exchange, get, starting

HARDENING = {
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
APP, EVIL = "https://app.example", "https://evil.example"
MALFORMED = b"GET / HTTP/1.1\r\n\r\n"
PREFLIGHT = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}


async def test_every_response_says_that_it_is_no_other_type_and_hides_the_software() -> None:
    async with starting() as port:
        found = {path: await get(port, path) for path in ("/livez", "/metrics", "/v1/generations", "/nowhere", "/docs")}
        found["malformed"] = await exchange(port, MALFORMED)
        found["expectation"] = await get(port, "/livez", Expect="a miracle")
    for path, answer in found.items():
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["server"] == "gengui-stream", path
        assert {name: answer.headers[name] for name in HARDENING} == HARDENING, path
        assert answer.headers["x-request-id"], path
        assert "strict-transport-security" not in answer.headers, path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["cache-control"] == ("public, no-cache" if path == "/docs" else "no-store"), path


async def test_browsers_keep_to_tls_where_clients_reach_the_api_by_it() -> None:
    async with starting(public_url="https://images.example", http_receive_timeout_s=0.2) as port:
        found = [await get(port, path) for path in ("/livez", "/nowhere")]
        found += [await exchange(port, sent) for sent in (MALFORMED, b"GET / HTTP/1.1\r\nHost: a")]
    assert [answer.status for answer in found] == [200, 404, 400, 408]
    for answer in found:
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert {name: answer.headers[name] for name in HARDENING} == HARDENING
        assert (answer.headers["server"], bool(answer.headers["x-request-id"])) == ("gengui-stream", True)


async def test_the_first_page_leads_to_the_documentation_with_its_files() -> None:
    async with starting(public_url="https://images.example/core/") as port:
        for path, location in (("/", "docs"), ("/docs/", "../docs")):
            answer = await get(port, path)
            assert (answer.status, answer.headers["location"]) == (302, location)
        page = await get(port, "/docs")
        files = re.findall(r'(?:href|src)="(docs/[^"]+)"', page.body.decode())
        assert len(files) == 2
        for file in files:
            answer = await get(port, f"/{file}")
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            packed = await get(port, f"/{file}", Accept_Encoding="gzip, br")
            assert gzip.decompress(packed.body) == answer.body
            assert len(packed.body) < len(answer.body) / 2
        for path in ("/docs/assets", "/docs/assets/", "/docs/assets/0/swagger-ui.css", f"/{files[0]}.map"):
            assert (await get(port, path)).status == 404
        assert "https://images.example;" in page.headers["content-security-policy"]
        document = orjson.loads((await get(port, "/openapi.json")).body)
        assert document["servers"] == [{"url": "https://images.example/core"}]


async def test_large_responses_are_compressed_for_clients_that_accept_it() -> None:
    async with starting() as port:
        plain = await get(port, "/openapi.json")
        for accepted in ("gzip", "br;q=1.0, GZIP;q=0.5", "*"):
            packed = await get(port, "/openapi.json", Accept_Encoding=accepted)
            assert packed.headers["content-encoding"] == "gzip"
            assert gzip.decompress(packed.body) == plain.body
            assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        for accepted in ("", "identity", "gzip;q=0", "br", "gzip;q=high", "*;q=0"):
            answer = await get(port, "/openapi.json", Accept_Encoding=accepted)
            assert "content-encoding" not in answer.headers
        assert "content-encoding" not in (await get(port, "/livez", Accept_Encoding="gzip")).headers
        assert "content-length" in (await get(port, "/openapi.json", "HEAD", Accept_Encoding="gzip")).headers


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF)))
def test_no_accept_encoding_is_an_error(header: str) -> None:
    assert accepts_gzip(header) in {True, False}


async def test_pages_of_allowed_origins_may_call() -> None:
    async with starting(cors_allowed_origins=f"{APP}, http://localhost:5173") as port:
        for path in ("/livez", "/v1/generations", "/nowhere"):
            answer = await get(port, path, Origin=APP)
            assert answer.headers["access-control-allow-origin"] == APP
            assert {"Gengui-Position", "ETag"} <= names(answer, "access-control-expose-headers")
            assert "Origin" in answer.headers["vary"]
            assert answer.headers["access-control-allow-credentials"] == "true"
        asked = await get(port, "/v1/generations", "OPTIONS", Origin=APP, **PREFLIGHT)
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, APP)
        assert names(asked, "access-control-allow-methods") == {"GET", "HEAD", "POST"}
        assert {"Authorization", "Idempotency-Key"} <= names(asked, "access-control-allow-headers")
        one = await get(port, "/v1/generations/x", "OPTIONS", Origin=APP, **PREFLIGHT)
        assert names(one, "access-control-allow-methods") == {"DELETE", "GET", "HEAD"}
        assert (await get(port, "/nowhere", "OPTIONS", Origin=APP, **PREFLIGHT)).status == 404


async def test_pages_of_other_origins_may_not() -> None:
    async with starting(cors_allowed_origins=APP) as listed, starting() as unset:
        for port in (listed, unset):
            for origin in (EVIL, f"{APP}.evil.example", "null", APP.upper()):
                answer = await get(port, "/livez", Origin=origin)
                asked = await get(port, "/v1/generations", "OPTIONS", Origin=origin, **PREFLIGHT)
                assert asked.status == 405
                assert not [name for name in (*answer.headers, *asked.headers) if name.startswith("access-control")]
        assert "access-control-allow-origin" not in (await get(unset, "/livez", Origin=APP)).headers


async def test_all_origins_may_be_allowed_but_never_with_credentials() -> None:
    async with starting(cors_allowed_origins="*") as port:
        for answer in (
            await get(port, "/livez", Origin=EVIL),
            await get(port, "/v1/generations", "OPTIONS", Origin=EVIL, **PREFLIGHT),
        ):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", ["app.example", "https://app.example/", "https://*.example", "ftp://a", "null"])
def test_what_no_browser_sends_as_an_origin_is_no_setting(origins: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings.model_validate({"cors_allowed_origins": origins})


def names(answer: Answer, header: str) -> set[str]:
    return set(answer.headers[header].split(", "))
