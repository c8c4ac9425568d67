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
from gengui_stream.fakes.runpod.server import RunpodServer, fake_runpod
from gengui_stream.fakes.scripts import read_script
from gengui_stream.media.object_keys import media_key
from gengui_stream.media.object_store import open_object_store
from gengui_stream.metrics import new_metrics
from gengui_stream.providers.interface import (
    Canceled,
    CancelOutcome,
    Dispatched,
    DispatchRequest,
    FaultDomain,
    Finished,
    Lost,
    ProviderJob,
    Refused,
    Running,
    StatusOutcome,
)
from gengui_stream.providers.registry import opened_providers
from gengui_stream.providers.runpod.provider import RunpodProvider
from gengui_stream.providers.webhook_tokens import AttemptName, attempt_of
from gengui_stream.redis_io.clients import opened_redis
from gengui_stream.settings import Settings
from tests.dispatches import a_dispatch
from tests.integration.providers.runpod_scenes import KEY, SECRET, a_job, living, opened, small, with_runpod
from tests.integration.running import eventually

pytestmark = pytest.mark.stack

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


async def begun(provider: RunpodProvider, request: DispatchRequest) -> ProviderJob:
    answer = await provider.dispatch(request)
    assert isinstance(answer, Dispatched), answer
    return a_job(answer.provider_job_id, endpoint_id=answer.endpoint_id)


async def ended(provider: RunpodProvider, request: DispatchRequest, job: ProviderJob) -> StatusOutcome:
    """The status once the job no longer runs."""

    async def look() -> StatusOutcome | None:
        found = await provider.get_status(request, job)
        return None if isinstance(found, Running) else found

    found = await eventually(look)
    assert found is not None
    return found


class Stage(AsyncExitStack):
    """A fake with a script, and the provider that uses it."""

    server: RunpodServer
    provider: RunpodProvider

    async def begin(self, settings: Settings, script: RunpodScript, **changes: object) -> "Stage":
        self.server = await self.enter_async_context(fake_runpod(script, settings=settings, key=KEY))
        self.provider = await self.enter_async_context(opened(settings, self.server, **changes))
        return self


async def played(stack: AsyncExitStack, settings: Settings, script: RunpodScript, **changes: object) -> Stage:
    return await (await stack.enter_async_context(Stage())).begin(settings, script, **changes)


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


async def test_a_job_whose_id_was_lost_is_found_by_its_image_or_lost_after_its_ttl(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("reset_after_work"))
        request = a_dispatch()
        with pytest.raises(TransientError):
            await stage.provider.dispatch(request)
        assert isinstance(await ended(stage.provider, request, a_job(None, endpoint_id=None)), Finished)
        nothing = a_dispatch()
        assert isinstance(await stage.provider.get_status(nothing, a_job(None)), Running)
        last = timedelta(seconds=stage.provider.call_policy.in_doubt_s)
        almost = a_job(None, dispatched_at=datetime.now(UTC) - last + timedelta(seconds=5))
        assert isinstance(await stage.provider.get_status(nothing, almost), Running)
        assert isinstance(await stage.provider.get_status(nothing, a_job(None, dispatched_at=LONG_AGO)), Lost)


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


LIVES: Sequence[tuple[str, str | None]] = [
    ("image", None),
    ("list_output", None),
    ("wrong_type", None),
    ("late_progress", None),
    ("late_progress_for_ever", None),
    ("running", None),
    ("unknown_status", None),
    ("vanished", None),
    ("no_output", "no_image"),
    ("text_output", "no_image"),
    ("missing_object", "no_image"),
    ("wrong_key", "no_image"),
    ("not_an_image", "no_image"),
    ("failed", "worker_failed"),
    ("failed_plainly", "worker_failed"),
    ("timed_out", "provider_timed_out"),
]


async def test_each_life_comes_to_its_end(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        for life, code in LIVES:
            stage.server.play(small(life))
            request = a_dispatch()
            found = await ended(stage.provider, request, await begun(stage.provider, request))
            if code is None:
                assert isinstance(found, Finished), life
                assert [output.mime_type for output in found.outputs] == ["image/png"], life
            else:
                assert isinstance(found, Refused), life
                assert (found.code, found.retryable, found.fault_domain) == (code, True, FaultDomain.PROVIDER), life
                assert "Traceback" not in found.message
                assert "fake-worker" not in found.message


async def test_a_key_that_comes_back_is_in_no_message(settings: Settings) -> None:
    said = f'{{"rules": [{{"then": {{"do": "error", "status": 401, "message": "no key {KEY}"}}}}]}}'
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, read_script(RunpodScript, READY, said))
        answer = await stage.provider._client.run("e1", {"input": {}})
        assert answer.detail == "no key ***"


async def test_an_image_that_a_job_gave_us_is_copied_into_our_store(settings: Settings) -> None:
    """A worker that implements the contract for a job without a key."""
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        request = a_dispatch()
        policy = stage.provider._plan.policy(request, datetime.now(UTC))
        assert policy is not None
        body = stage.provider._body(request, policy)
        assert isinstance(body["input"], dict)
        del body["input"]["object_key"]
        answer = await stage.provider._client.run("e1", body)
        found = await ended(stage.provider, request, a_job(str(answer.fields["id"])))
        assert isinstance(found, Finished)
        [output] = found.outputs
        locked_out = settings.model_copy(update={"aws_secret_access_key": SecretStr("wrong")})
        lonely = await stack.enter_async_context(opened(locked_out, stage.server))
        with pytest.raises(TransientError):  # RunPod keeps the result for a while: people may act in time
            await lonely.get_status(request, a_job(str(answer.fields["id"])))
    async with open_object_store(settings) as store:
        assert len(await store.get(output.object_key, 1 << 20)) == output.bytes


async def test_a_running_job_counts_as_alive_once(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("never_ends"))
        request = a_dispatch()
        job = await begun(stage.provider, request)

        async def alive() -> bool:
            found = await stage.provider.get_status(request, job)
            assert isinstance(found, Running)
            return found.alive

        await eventually(alive)
        known = a_job(job.provider_job_id, started_at=datetime.now(UTC))
        found = await stage.provider.get_status(request, known)
        assert isinstance(found, Running)
        assert not found.alive


async def test_a_job_that_runpod_does_not_know_is_young_or_lost(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        assert isinstance(await stage.provider.get_status(a_dispatch(), a_job("no-such-job")), Running)
        assert isinstance(await stage.provider.get_status(a_dispatch(), a_job("no", dispatched_at=LONG_AGO)), Lost)


async def test_a_status_query_without_a_response_changes_nothing(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("never_ends"), runpod_call_timeout_s=0.5)
        request = a_dispatch()
        job = await begun(stage.provider, request)
        for name in ("rate_limited", "unauthorized", "internal", "bad_gateway", "html", "half_body", "hang", "reset"):
            script = f'{{"rules": [{{"when": {{"operation": "status"}}, "then": "{name}"}}]}}'
            stage.server.play(read_script(RunpodScript, READY, script))
            with pytest.raises(TransientError):
                await stage.provider.get_status(request, job)


@pytest.mark.parametrize("workers", ["cold", "throttled", "crashing"])
async def test_why_a_job_stays_queued_is_diagnosed(settings: Settings, workers: str) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, living(queue_s=3_600, workers=workers))
        request = a_dispatch()
        job = await begun(stage.provider, request)
        assert isinstance(await stage.provider.get_status(request, job), Running)
        assert stage.server.calls_of("health") == [], "a young job: no query"
        old = a_job(job.provider_job_id, dispatched_at=LONG_AGO)
        found = await stage.provider.get_status(request, old)
        if workers == "crashing":
            assert isinstance(found, Refused)
            assert (found.code, found.retryable) == ("crash_loop", True)
            assert stage.server.runs.now == {}, "it was taken from the queue first"
        else:
            assert isinstance(found, Running)
            assert {"cold": "cold start", "throttled": "no capacity"}[workers] in str(found.note)
            await stage.provider.get_status(request, old)
        assert len(stage.server.calls_of("health")) == 1, "asked once for all"


async def test_its_status_is_queried_at_its_endpoint(settings: Settings) -> None:
    """The endpoint of the settings may change while a job runs."""
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        moved = await stack.enter_async_context(opened(settings, stage.server, runpod_endpoint_id="e2"))
        request = a_dispatch()
        job = await begun(stage.provider, request)
        assert isinstance(await ended(moved, request, job), Finished)
        assert await moved.cancel(request, job) is CancelOutcome.ALREADY_ENDED


async def test_cancels(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, living(queue_s=3_600))
        request = a_dispatch()
        job = await begun(stage.provider, request)
        assert await stage.provider.cancel(request, job) is CancelOutcome.STOPPED
        assert await stage.provider.cancel(request, job) is CancelOutcome.STOPPED
        assert stage.server.runs.now == {}
        wanted = a_job(job.provider_job_id)
        unwanted = a_job(job.provider_job_id, cancel_requested=True)
        assert isinstance(await stage.provider.get_status(request, unwanted), Canceled)
        refused = await stage.provider.get_status(request, wanted)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retryable) == ("canceled_by_provider", True)
        stage.server.play(living())
        done = a_dispatch()
        over = await begun(stage.provider, done)
        await ended(stage.provider, done, over)
        assert await stage.provider.cancel(done, over) is CancelOutcome.ALREADY_ENDED
        for unknown in (a_job("no-such-job"), a_job(None)):
            assert await stage.provider.cancel(done, unknown) is CancelOutcome.ALREADY_ENDED
        limits = small("calm").model_copy(update={"limits": {"cancel": 0}})
        stage.server.play(limits)
        with pytest.raises(TransientError):
            await stage.provider.cancel(done, over)


async def test_a_later_attempt_takes_the_image_that_an_earlier_one_left(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        request = a_dispatch()
        await ended(stage.provider, request, await begun(stage.provider, request))
        again = a_dispatch(generation_id=request.generation_id, owner_id=request.owner_id, attempt=2)
        assert isinstance(await stage.provider.dispatch(again), Finished)
        assert len(stage.server.calls_of("run")) == 1


async def test_the_store_away_means_later(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        stage = await played(stack, settings, small("calm"))
        astray = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})
        lonely = await stack.enter_async_context(opened(astray, stage.server))
        request = a_dispatch()
        job = await begun(stage.provider, request)
        await ended(stage.provider, request, job)
        with pytest.raises(TransientError):
            await lonely.get_status(request, job)
        again = a_dispatch(attempt=2)
        assert isinstance(await lonely.dispatch(again), Dispatched), "nothing was sent yet: no reason to give it up"


async def test_without_a_key_there_is_no_such_provider(settings: Settings) -> None:
    async with opened_redis(settings) as redis, open_object_store(settings) as store:
        async with opened_providers(settings, redis, store, new_metrics()) as found:
            assert "runpod" not in found
        both = with_runpod(settings, "http://127.0.0.1:1")
        async with opened_providers(both, redis, store, new_metrics()) as found:
            assert found["runpod"].capabilities.models == ("zit-basic",)
