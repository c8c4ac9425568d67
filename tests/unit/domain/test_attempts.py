"""Any response of a provider becomes events that the log accepts."""

from dataclasses import replace
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.domain.generation.state import Generation, ProviderPreference
from gengui_stream.jobs.attempts import Attempt, failed, moderated, retried, timed_out
from gengui_stream.jobs.queue import ClaimedJob
from gengui_stream.providers.interface import Refused
from tests.dispatches import a_dispatch
from tests.events import GENERATION, NOON, OWNER

ATTEMPT: Final = Attempt(
    job=ClaimedJob("dispatch:1", "dispatch", GENERATION, 1, None, 1, expedited=False, claimed_at=NOON),
    state=Generation(
        GENERATION,
        OWNER,
        "m",
        "gemini",
        max_attempts=3,
        deadline=None,
        requested_at=NOON,
        preference=ProviderPreference("gemini", "m", pinned=False),
    ),
    request=a_dispatch(generation_id=GENERATION, owner_id=OWNER, model="m"),
)


@given(st.text() | st.text(alphabet="\x00a", min_size=1) | st.just("long " * 1_000))
def test_any_text_of_a_provider_can_be_told(text: str) -> None:
    kept = text.replace("\x00", "")[:2_000]
    assert failed(ATTEMPT, Refused("no", text, retryable=False), NOON).error.message == kept
    assert moderated(ATTEMPT, text, NOON).reason == kept
    assert timed_out(ATTEMPT, text, NOON).reason == kept
    assert retried(ATTEMPT, text, NOON, NOON).reason == kept


def test_where_the_next_attempt_runs_is_not_told_for_an_earlier_one() -> None:
    """The end of the earlier attempt must not stop the next one."""
    state = ATTEMPT.state._replace(attempt=2, provider_job_id="second", endpoint_id="e", cancel_requested=True)
    stale = replace(ATTEMPT, state=state).provider_job
    assert (stale.provider_job_id, stale.endpoint_id, stale.started_at) == (None, None, None)
    current = replace(ATTEMPT, state=state._replace(attempt=1)).provider_job
    assert (current.provider_job_id, current.endpoint_id, current.cancel_requested) == ("second", "e", True)
