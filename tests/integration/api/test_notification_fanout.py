"""A change wakes the requests that wait for that generation, and those that wait for any of the owner's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import pytest

from api.notification_fanout import NotificationFanout, Subscription
from gengui_stream.redis_io.clients import opened_client, shared
from gengui_stream.redis_io.notifications import ChangeNotification, NotificationPublisher, NotificationSubscriber
from gengui_stream.settings import Settings
from tests.integration.running import eventually

OWNER, ONE, OTHER = uuid4(), uuid4(), uuid4()


@asynccontextmanager
async def fanned_out(settings: Settings) -> AsyncIterator[NotificationFanout]:
    async with NotificationSubscriber(settings) as subscriber:
        fanout = NotificationFanout(subscriber)
        running = asyncio.ensure_future(fanout.run())
        try:
            yield fanout
        finally:
            running.cancel()
            await asyncio.wait({running})


async def woken(subscription: Subscription) -> bool:
    return subscription.woken


async def subscribed(stack: ExitStack, fanout: NotificationFanout, generation_id: UUID | None) -> Subscription:
    """In force: Redis confirms each subscription, which wakes all of the channel."""
    subscription = stack.enter_context(fanout.subscribed(OWNER, generation_id))
    await eventually(partial(woken, subscription))
    return subscription


async def all_subscribed(
    stack: ExitStack, fanout: NotificationFanout, *generation_ids: UUID | None
) -> list[Subscription]:
    """One after the other, so that none is woken by the confirmation of a later one; then asleep again."""
    made = [await subscribed(stack, fanout, generation_id) for generation_id in generation_ids]
    for subscription in made:
        await subscription.wait()
    return made


def change(generation_id: UUID, offset: int) -> ChangeNotification:
    return ChangeNotification(OWNER, generation_id, 0, offset)


async def test_a_change_wakes_only_the_requests_that_wait_for_that_generation(settings: Settings) -> None:
    async with opened_client(settings) as redis, fanned_out(settings) as fanout:
        publisher = NotificationPublisher(shared(redis))
        with ExitStack() as stack:
            one, other, any_of_them = await all_subscribed(stack, fanout, ONE, OTHER, None)
            await publisher.publish([change(ONE, 1)], ())
            await eventually(partial(woken, one))
            assert (other.woken, any_of_them.woken) == (False, True)
            await publisher.publish([change(OTHER, 2)], ())
            await eventually(partial(woken, other))


async def test_a_notification_that_cannot_be_read_wakes_all_of_the_owner(settings: Settings) -> None:
    async with opened_client(settings) as redis, fanned_out(settings) as fanout:
        with ExitStack() as stack:
            subscriptions = await all_subscribed(stack, fanout, ONE, OTHER)
            await redis.publish(f"gengui:owner:{OWNER}", "rubbish")
            for subscription in subscriptions:
                await eventually(partial(woken, subscription))


class Failing(NotificationSubscriber):
    """A bug of ours in the end of a subscription."""

    async def unsubscribe(self, channel: str) -> None:
        raise RuntimeError("a bug in our code")


async def test_a_bug_in_a_subscription_s_end_ends_the_process(settings: Settings) -> None:
    async with Failing(settings) as subscriber:
        fanout = NotificationFanout(subscriber)
        running = asyncio.create_task(fanout.run())
        with fanout.subscribed(OWNER) as subscription:
            await eventually(partial(woken, subscription))
        with pytest.raises(RuntimeError, match="a bug in our code"):
            async with asyncio.timeout(10):
                await running
