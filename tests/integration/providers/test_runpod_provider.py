"""The provider `runpod` against the fake, with sockets and a real object store: every response and every course of a
job."""

import io
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from pydantic import SecretStr

from gengui_stream.errors import TransientError
from gengui_stream.fakes.runpod.script import READY, RunpodScript
from gengui_stream.fakes.scripts import read_script
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.interface import (
    FaultDomain,
    Finished,
    Refused,
)
from gengui_stream.providers.registry import opened_providers
from gengui_stream.providers.webhook_tokens import AttemptName, attempt_of
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.settings import Settings
from tests.dispatches import a_dispatch
from tests.integration.providers.runpod_jobs import begun, ended, played
from tests.integration.providers.runpod_scenes import KEY, SECRET, small, with_runpod

pytestmark = pytest.mark.stack


async def test_a_job_has_the_workers_input_and_its_image_is_found(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        hooks = {"public_url": "http://127.0.0.1:9/", "webhook_secret": SecretStr(SECRET)}
        stage = await played(stack, settings, small("calm"), **hooks, runpod_ttl_s=60.0)
        deadline = datetime.now(UTC) + timedelta(seconds=30)
        request = a_dispatch(deadline=deadline)
        job = await begun(stage.provider, request)
        found = await ended(stage.provider, request, job)
        assert isinstance(found, Finished)
        [output] = found.outputs
        [call] = stage.server.calls_of("run")
    assert output.object_key == media_key(request.owner_id, request.generation_id, "image/png")
    async with open_object_store(settings) as store:
        body = await store.get(output.object_key, 1 << 20)
    with Image.open(io.BytesIO(body)) as image:
        assert (output.width, output.height, output.bytes) == (*image.size, len(body))
        assert image.size != (request.width, request.height), "the size is that of the image, not what was asked for"
    sent = json.loads(json.dumps(call.body))
    assert sent["policy"]["executionTimeout"] == 20_000
    assert 25_000 < sent["policy"]["ttl"] <= 30_000, "no longer than its deadline"
    assert sent["input"]["object_key"] == output.object_key
    assert sent["input"]["attempt"] == 1
    base, _, token = sent["webhook"].rpartition("/")
    assert base == "http://127.0.0.1:9/v1/provider-webhooks/runpod"
    assert attempt_of("runpod", token, SECRET) == AttemptName("runpod", request.generation_id, 1)


async def test_another_models_run_may_take_longer(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"), runpod_execution_timeouts="zit-basic=20,zit-large=90")
        assert [stage.provider.model_for(name) for name in ("zit-large", "dall-e")] == ["zit-large", "zit-basic"]
        for model in ("zit-large", "other"):
            await begun(stage.provider, a_dispatch(model=model))
        policies = [json.loads(json.dumps(call.body))["policy"] for call in stage.server.calls_of("run")]
        assert [policy["executionTimeout"] for policy in policies] == [90_000, 120_000]
        assert "webhook" not in json.loads(json.dumps(stage.server.calls_of("run")[0].body))


REFUSALS: Sequence[tuple[str, FaultDomain, bool, float | None]] = [
    ("bad_request", FaultDomain.REQUEST, False, None),
    ("unauthorized", FaultDomain.CONFIGURATION, True, None),
    ("no_credit", FaultDomain.CONFIGURATION, True, None),
    ("forbidden", FaultDomain.CONFIGURATION, True, None),
    ("not_found", FaultDomain.CONFIGURATION, True, None),
    ("rate_limited", FaultDomain.CAPACITY, True, 1.0),
    ("rate_limited_silent", FaultDomain.CAPACITY, True, None),
    ("internal", FaultDomain.PROVIDER, True, None),
    ("unavailable", FaultDomain.PROVIDER, True, None),
]


async def test_each_refusal_has_its_fault_domain(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        for name, fault_domain, retryable, retry_after_s in REFUSALS:
            stage.server.play(small(name))
            answer = await stage.provider.dispatch(a_dispatch())
            assert isinstance(answer, Refused), name
            assert (answer.fault_domain, answer.retryable, answer.retry_after_s) == (
                fault_domain,
                retryable,
                retry_after_s,
            ), name
            assert KEY not in repr(answer)
        assert stage.server.runs.now == {}, "a refused attempt runs nowhere"


async def test_an_unknown_outcome_of_a_call_is_reported_as_unknown(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"), runpod_call_timeout_s=0.5)
        for name in ("bad_gateway", "gateway_timeout", "html", "hang", "half_body", "reset", "reset_after_work"):
            stage.server.play(small(name))
            with pytest.raises(TransientError):
                await stage.provider.dispatch(a_dispatch())


async def test_a_call_that_was_not_sent_is_a_refusal(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"), runpod_base_url="http://127.0.0.1:1")
        answer = await stage.provider.dispatch(a_dispatch())
        assert isinstance(answer, Refused)
        assert (answer.code, answer.fault_domain, answer.retryable) == (
            "provider_unreachable",
            FaultDomain.PROVIDER,
            True,
        )


async def test_however_late_it_is_called_a_job_ends_in_the_time_that_it_is_waited_for(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"), runpod_ttl_s=60.0)
        late = datetime.now(UTC) - timedelta(seconds=40)
        await begun(stage.provider, a_dispatch(announced_at=late))
        [call] = stage.server.calls_of("run")
        assert 15_000 < json.loads(json.dumps(call.body))["policy"]["ttl"] <= 20_000
        too_late = await stage.provider.dispatch(a_dispatch(announced_at=late - timedelta(seconds=15)))
        assert isinstance(too_late, Refused)
        assert len(stage.server.calls_of("run")) == 1


async def test_a_key_that_comes_back_is_in_no_message(settings: Settings) -> None:
    said = f'{{"rules": [{{"then": {{"do": "error", "status": 401, "message": "no key {KEY}"}}}}]}}'
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, read_script(RunpodScript, READY, said))
        answer = await stage.provider._client.run("e1", {"input": {}})
        assert answer.words == "no key ***"


async def test_without_a_key_there_is_no_such_provider(settings: Settings) -> None:
    async with opened_client(settings) as redis, open_object_store(settings) as store:
        async with opened_providers(settings, shared(redis), store, new_metrics()) as found:
            assert "runpod" not in found
        both = with_runpod(settings, "http://127.0.0.1:1")
        async with opened_providers(both, shared(redis), store, new_metrics()) as found:
            assert found["runpod"].capabilities.models == ("zit-basic",)
