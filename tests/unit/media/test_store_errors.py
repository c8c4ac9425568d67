"""Each answer of an S3-compatible store means: try again, the object is missing, or give up."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web

from gengui_stream.errors import PermanentError, TransientError
from gengui_stream.media.object_store import ObjectStore, open_object_store
from gengui_stream.media.store_errors import HIDING_CODES, PASSING_CODES, ObjectMissing
from gengui_stream.settings import load_settings

KEYS: Final = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


class AnsweringStore:
    """Answers each request with `status` and `code`; by `answers` for a method and path."""

    def __init__(self) -> None:
        self.status, self.code = 200, ""
        self.answers: Mapping[str, tuple[int, str]] = {}
        self.made: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        asked = f"{request.method} {'object' if request.path.count('/') > 1 else 'bucket'}"
        self.made.append(asked)
        status, code = self.answers.get(asked, (self.status, self.code))
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as asked for</Message></Error>"
        return web.Response(
            status=status, text="" if request.method == "HEAD" else text, content_type="application/xml"
        )


@pytest_asyncio.fixture
async def answering() -> AsyncIterator[tuple[AnsweringStore, ObjectStore]]:
    found, app = AnsweringStore(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings = load_settings({"S3_ENDPOINT": endpoint, "S3_BUCKET": "bucket", **KEYS}, env_files=())
    async with open_object_store(settings, tries=1) as store:
        yield found, store
    await runner.cleanup()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 509])
async def test_these_statuses_pass_whatever_the_code(
    status: int, answering: tuple[AnsweringStore, ObjectStore]
) -> None:
    server, store = answering
    server.status, server.code = status, "Anything"
    await _passes(store)


@pytest.mark.parametrize("code", sorted(PASSING_CODES))
async def test_these_codes_pass_whatever_the_status(code: str, answering: tuple[AnsweringStore, ObjectStore]) -> None:
    server, store = answering
    server.status, server.code = 400, code
    await _passes(store)


async def _passes(store: ObjectStore) -> None:
    with pytest.raises(TransientError):
        await store.put("k", b"body", "image/png")
    with pytest.raises(TransientError):
        await store.get("k", 100)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidRequest"),
        (400, "EntityTooLarge"),
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (404, "NoSuchUpload"),
        (405, "MethodNotAllowed"),
        (411, "MissingContentLength"),
    ],
)
async def test_a_write_that_is_refused_is_refused_for_good(
    status: int, code: str, answering: tuple[AnsweringStore, ObjectStore]
) -> None:
    server, store = answering
    server.status, server.code = status, code
    with pytest.raises(PermanentError):
        await store.put("k", b"body", "image/png")


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (404, "NoSuchVersion"), (403, "AccessDenied")])
async def test_a_missing_object_is_missing_also_where_the_bucket_may_not_be_listed(
    status: int, code: str, answering: tuple[AnsweringStore, ObjectStore]
) -> None:
    server, store = answering
    server.status, server.code = status, code
    with pytest.raises(ObjectMissing):
        await store.get("k", 100)


@pytest.mark.parametrize("answer", [(404, "NoSuchKey"), (403, "AccessDenied")])
async def test_the_probe_needs_no_right_but_that_to_read_objects(
    answer: tuple[int, str], answering: tuple[AnsweringStore, ObjectStore]
) -> None:
    server, store = answering
    server.answers = {"HEAD bucket": (403, ""), "GET object": answer}
    await store.check()
    await store.ensure_bucket()
    assert "PUT bucket" not in server.made


@pytest.mark.parametrize("answer", [(403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"), (404, "NoSuchBucket")])
async def test_the_probe_knows_a_wrong_key_and_a_missing_bucket(
    answer: tuple[int, str], answering: tuple[AnsweringStore, ObjectStore]
) -> None:
    server, store = answering
    server.answers = {"HEAD bucket": (403, ""), "GET object": answer}
    with pytest.raises((PermanentError, TransientError)):
        await store.check()
    with pytest.raises((PermanentError, TransientError)):
        await store.ensure_bucket()


def test_no_code_means_two_things() -> None:
    assert not PASSING_CODES & HIDING_CODES
