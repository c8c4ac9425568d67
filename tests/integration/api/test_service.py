"""Operations besides generations: health, metrics, documents, methods, and a graceful end."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.routes import routes
from api.server import served_api
from gengui_stream.accounts.keys.api_keys import seed_user
from gengui_stream.log.topics import administering, described_partitions
from gengui_stream.postgres.pool import Pool
from gengui_stream.settings import Settings
from schemas.operations.table import OPERATIONS
from tests.integration.api.client import DOCUMENT, Client
from tests.integration.api.conftest import serving
from tests.integration.projector.projecting import projecting
from tests.integration.running import DEADLINE_S, eventually, role_context


async def test_the_document_is_openapi_and_names_every_route_and_no_other(user: Client) -> None:
    served = {(route.method.lower(), route.path) for route in routes()}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served
    document = await user.get("/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    assert document == DOCUMENT


async def test_the_page_fetches_nothing_from_elsewhere(user: Client) -> None:
    async with user.session.get(f"{user.base}/docs") as answer:
        page = await answer.text()
    assert "SwaggerUIBundle" in page
    assert "//" not in page.replace("<!doctype html>", "")


async def test_health_and_metrics_need_no_key(user: Client) -> None:
    await user.created()
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        async with user.session.get(user.base + path) as answer:
            assert answer.status == 200
            text = await answer.text()
    async with user.session.get(f"{user.base}/metrics") as answer:
        text = await answer.text()
    assert 'route="/v1/generations/{id}"' in text
    ready = await user.get("/readyz")
    names = ("postgres", "redis", "objects", "log", "redis_writes", "log_appends", "projection")
    assert ready == {"status": "ready", "checks": dict.fromkeys(names, "ok")}


async def test_a_lost_topic_makes_it_unready_and_is_not_created_again(user: Client, settings: Settings) -> None:
    """An empty log in its place would hide the loss."""
    async with administering(settings) as admin:
        await admin.delete_topics([settings.events_topic])

    async def unready() -> bool:
        return (await user.call("GET", "/readyz"))[0] == 503

    await eventually(unready)
    _, _, found = await user.call("GET", "/readyz")
    assert found["checks"]["log"] == "ConfigurationError"
    async with administering(settings) as admin:
        assert not await described_partitions(admin, settings.events_topic)


async def test_until_everything_is_reached_it_lives_and_is_not_ready(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    async with aiohttp.ClientSession() as session, served_api(role_context(away)) as port:
        client = Client(session, f"http://127.0.0.1:{port}", "gg_x")
        assert await client.get("/livez") == {"status": "starting", "tick_age_s": 0.0}
        status, _, found = await client.call("GET", "/readyz")
        assert (status, found["status"]) == (503, "not_ready")
        status, headers, found = await client.call("GET", "/v1/generations")
        assert (status, found["code"], headers["Retry-After"]) == (503, "starting", "1")
        async with session.get(f"{client.base}/metrics") as answer:
            assert 'gengui_http_requests_total{method="GET",route="/livez",status="200"} 1.0' in await answer.text()


async def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(user: Client) -> None:
    cases = [
        ("PUT", "/v1/generations", "GET,HEAD,POST"),
        ("OPTIONS", "/v1/generations/x", "DELETE,GET,HEAD"),
        ("GET", "/v1/generations/x/cancel", "POST"),
        ("HEAD", "/v1/stream", "GET"),
        ("PATCH", "/livez", "GET,HEAD"),
    ]
    for method, path, allowed in cases:
        async with user.session.request(method, user.base + path) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, allowed)
            assert answer.content_type == "application/problem+json"


async def test_head_answers_as_get_without_a_body(user: Client) -> None:
    generation_id = await user.created()
    for path in ("/v1/generations", f"/v1/generations/{generation_id}", f"/v1/generations/{generation_id}/events"):
        status, headers, found = await user.call("HEAD", path)
        assert (status, found) == (200, {})
        assert int(headers["Content-Length"]) > 0


async def test_urls_are_those_by_which_clients_reach_it(
    settings: Settings, pool: Pool, session: aiohttp.ClientSession
) -> None:
    """As PUBLIC_URL says, else as the request does; a header that every client can send does not count."""
    key = await seed_user(pool, "user@example.com", "user")
    lies = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    public = settings.model_copy(update={"public_url": "https://images.example/core/"})
    async with serving(settings, session) as base, serving(public, session) as hidden:
        for address, expected in ((base, base), (hidden, "https://images.example/core")):
            status, headers, found = await Client(session, address, key).call(
                "POST", "/v1/generations", json={"prompt": "x"}, headers=lies
            )
            assert status == 202
            assert headers["Location"] == found["urls"]["self"] == f"{expected}/v1/generations/{found['id']}"


async def test_a_request_is_finished_before_the_end_and_streams_are_closed(settings: Settings, pool: Pool) -> None:
    key = await seed_user(pool, "user@example.com", "user")
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession() as session,
        projecting(settings),
        AsyncExitStack() as streams_open,
    ):
        async with serving(settings, session) as base:
            user = Client(session, base, key)
            stream = await streams_open.enter_async_context(user.stream("/v1/stream"))
            await stream.next()
            waits = {"Prefer": "wait=60"}
            waiting = asyncio.ensure_future(user.call("POST", "/v1/generations", json={"prompt": "x"}, headers=waits))
            await stream.events(1)
        status, _, found = await waiting
        assert (status, found["status"]) == (202, "queued")
        assert await stream.rest() == []
        assert "Last-Event-ID" in stream.seen[-1].comment


async def sample(user: Client, name: str) -> float | None:
    """The value of a metric, with its labels as the page has them."""
    async with user.session.get(f"{user.base}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), None)


async def test_open_streams_are_counted_and_are_no_slow_requests(user: Client) -> None:
    async with user.stream("/v1/stream") as stream:
        await stream.next()
        assert await sample(user, "gengui_streams_open") == 1

    async def closed() -> bool:
        return await sample(user, "gengui_streams_open") == 0

    await eventually(closed)
    route = 'method="GET",route="/v1/stream"'
    assert await sample(user, f'gengui_http_requests_total{{{route},status="499"}}') == 1
    assert await sample(user, f"gengui_http_request_seconds_count{{{route}}}") is None


async def test_a_request_that_waits_on_purpose_is_no_slow_request(user: Client) -> None:
    route = 'method="POST",route="/v1/generations"'
    await user.create()
    await user.call("POST", "/v1/generations", json={"prompt": "x"}, headers={"Prefer": "wait=1"})
    assert await sample(user, f"gengui_http_request_seconds_count{{{route}}}") == 1
    assert await sample(user, 'gengui_events_appended_total{type="generation.requested"}') == 2
