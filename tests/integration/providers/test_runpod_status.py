"""What the provider RunPod finds out about a job, and how it cancels one."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from gengui_stream.errors import TransientError
from gengui_stream.fakes.runpod.script import READY, RunpodScript
from gengui_stream.fakes.scripts import read_script
from gengui_stream.media.object_store import open_object_store
from gengui_stream.providers.interface import (
    Canceled,
    CancelOutcome,
    Dispatched,
    FaultDomain,
    Finished,
    Lost,
    Refused,
    Running,
)
from gengui_stream.settings import Settings
from tests.dispatches import a_dispatch
from tests.integration.providers.runpod_jobs import begun, ended, played
from tests.integration.providers.runpod_scenes import a_job, living, opened, small
from tests.integration.running import eventually

pytestmark = pytest.mark.stack


LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


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
