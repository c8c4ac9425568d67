"""A page follows events with the browser's own EventSource, by a stream token: it cannot send a key."""

import asyncio

from gengui_stream.log.event_log import EventLog
from tests.browser.pages import IN_BROWSER, Watched
from tests.integration.api.client import Client, completed, thumbnail
from tests.integration.running import DEADLINE_S

pytestmark = IN_BROWSER

FOLLOW = """
async ([path, key]) => {
  const made = await fetch('/v1/stream-tokens', {method: 'POST', headers: {Authorization: `Bearer ${key}`}});
  const {token} = await made.json();
  const source = new EventSource(`${path}?token=${token}`);
  const types = ['generation.requested', 'generation.completed', 'thumbnail.created', 'end'];
  window.seen = [];
  window.opened = new Promise((resolve, reject) => {
    source.onopen = resolve;
    source.onerror = () => source.readyState === EventSource.CLOSED && reject(new Error('refused'));
  });
  window.ended = new Promise((resolve) => {
    for (const type of types) source.addEventListener(type, (event) => {
      window.seen.push([type, event.lastEventId]);
      if (type === 'end') { source.close(); resolve(window.seen); }
    });
  });
  await window.opened;
}
"""


async def test_a_page_follows_a_generation_to_its_end(user: Client, watched: Watched, event_log: EventLog) -> None:
    generation_id = await user.created()
    await watched.page.goto(f"{user.base}/docs")
    async with asyncio.timeout(DEADLINE_S):
        await watched.page.evaluate(FOLLOW, [f"/v1/generations/{generation_id}/stream", user.key])
        await event_log.append_many([completed(generation_id), thumbnail(generation_id)])
        seen = await watched.page.evaluate("window.ended")
    assert [kind for kind, _ in seen] == ["generation.requested", "generation.completed", "thumbnail.created", "end"]
    async with user.stream(f"/v1/generations/{generation_id}/stream", last_event_id=seen[1][1]) as rest:
        assert [message.event for message in await rest.rest()] == ["thumbnail.created", "end"]
    assert watched.complaints == []
