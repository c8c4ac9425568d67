"""What a job is submitted with beside its input: its time limits and its webhook URL. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from gengui_stream.providers.interface import DispatchRequest
from gengui_stream.providers.webhook_tokens import AttemptName, token_of
from gengui_stream.settings import Settings
from gengui_stream.settings.field_types import timeouts_by_model

TTL_MIN_S: Final = 10.0
"""RunPod's minimum."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds. `execution_timeout_s`: of the run alone. `ttl_s`: after submission, when RunPod deletes the job."""

    execution_timeout_s: float
    ttl_s: float

    def document(self) -> dict[str, int]:
        return {"executionTimeout": round(self.execution_timeout_s * 1_000), "ttl": int(self.ttl_s * 1_000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunpodPlan:
    """The settings that the provider uses."""

    endpoint_id: str
    default_model: str
    execution_timeouts_s: Mapping[str, float]
    execution_timeout_s: float
    ttl_s: float
    call_timeout_s: float
    heartbeat_timeout_s: float
    poll_interval_s: float
    webhook_base_url: str | None
    webhook_secret: str | None

    @classmethod
    def of(cls, settings: Settings, endpoint_id: str) -> "RunpodPlan":
        secret = settings.webhook_secret
        return cls(
            endpoint_id=endpoint_id,
            default_model=settings.runpod_model,
            execution_timeouts_s=timeouts_by_model(settings.runpod_execution_timeouts),
            execution_timeout_s=settings.runpod_execution_timeout_s,
            ttl_s=settings.runpod_ttl_s,
            call_timeout_s=settings.runpod_call_timeout_s,
            heartbeat_timeout_s=settings.runpod_silence_s,
            poll_interval_s=settings.runpod_look_every_s,
            webhook_base_url=settings.public_url,
            webhook_secret=secret.get_secret_value() if secret else None,
        )

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.default_model, *self.execution_timeouts_s)))

    @property
    def in_doubt_s(self) -> float:
        """A lost call may submit a job until the call's timeout, and the job lives for its `ttl`."""
        return self.ttl_s + self.call_timeout_s

    def policy(self, request: DispatchRequest, now: datetime) -> Policy | None:
        """The time limits of a job submitted now: it ends by the deadline, and `ttl_s` after its announcement.

        None when less than RunPod's minimum remains: the job could outlast the time that it is tracked for."""
        left_s = (_announced(request, now) + timedelta(seconds=self.ttl_s) - now).total_seconds()
        if left_s < TTL_MIN_S:
            return None
        useful_s = (request.deadline - now).total_seconds() if request.deadline is not None else left_s
        runs_s = self.execution_timeouts_s.get(request.model, self.execution_timeout_s)
        return Policy(runs_s, max(TTL_MIN_S, min(left_s, useful_s)))

    def webhook_url(self, request: DispatchRequest) -> str | None:
        if self.webhook_base_url is None or self.webhook_secret is None:
            return None
        token = token_of(AttemptName("runpod", request.generation_id, request.attempt), self.webhook_secret)
        return f"{self.webhook_base_url.rstrip('/')}/v1/provider-webhooks/runpod/{quote(token)}"


def _announced(request: DispatchRequest, now: datetime) -> datetime:
    return min(request.announced_at, now) if request.announced_at is not None else now
