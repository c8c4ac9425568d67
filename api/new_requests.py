"""What a client asks for becomes the event that says so."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from aiohttp import web

from api.problems import fault, invalid
from api.requests import CORRELATION_ID, TRACEPARENT, parse
from api.services import Services
from gengui_stream.identifiers import new_id
from schemas.events import GenerationRequested
from schemas.fields import SEED_MAX
from schemas.http import CreateGeneration


def requested(request: web.Request, has: Services, owner_id: UUID, asked: CreateGeneration) -> GenerationRequested:
    """Refuses providers that there are not and sizes that they cannot make."""
    now, provider = datetime.now(UTC), asked.provider or has.settings.default_provider
    _check_provider(has, provider, asked)
    return GenerationRequested(
        id=new_id(),
        generation_id=new_id(),
        attempt=1,
        occurred_at=now,
        producer="api",
        correlation_id=request[CORRELATION_ID],
        traceparent=request.get(TRACEPARENT),
        owner_id=owner_id,
        prompt=asked.prompt,
        seed=asked.seed if asked.seed is not None else time.time_ns() % (SEED_MAX + 1),
        width=asked.width,
        height=asked.height,
        model=asked.model or has.settings.default_model,
        provider=provider,
        max_attempts=has.settings.max_attempts,
        deadline=now + timedelta(seconds=has.settings.generation_deadline_s),
    )


def requested_again(request: web.Request, has: Services, row: asyncpg.Record) -> GenerationRequested:
    """As the row was asked for. What is not allowed any more is refused like a new request."""
    fields = ("prompt", "width", "height", "seed", "model", "provider")
    asked = parse(CreateGeneration, {name: row[name] for name in fields})
    return requested(request, has, row["owner_id"], asked).model_copy(update={"retried_from": row["generation_id"]})


def _check_provider(has: Services, name: str, asked: CreateGeneration) -> None:
    provider = has.providers.get(name)
    if provider is None:
        raise invalid([fault("provider", f"there is no such provider; there are: {', '.join(has.providers)}")])
    can = provider.capabilities
    sides = {"width": asked.width, "height": asked.height}
    faults = [
        fault(side, f"{name} makes {can.size_min} to {can.size_max} pixels in steps of {can.size_step}")
        for side, pixels in sides.items()
        if not can.size_min <= pixels <= can.size_max or pixels % can.size_step
    ]
    if faults:
        raise invalid(faults)
