"""Turns a client's request into a `generation.requested` event."""

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from aiohttp import web

from api.accounts.preferred import capabilities_of, with_choice, with_size
from api.context import ApiContext
from api.http.parsing import parse, stamp_of
from api.http.problems import fault, invalid
from gengui_stream.accounts.preferences import NO_PREFERENCES, Preferences
from gengui_stream.domain.generation import decide
from gengui_stream.domain.generation.decide import RequestParameters
from gengui_stream.identifiers import new_id
from gengui_stream.providers.flags.provider_flags import FlagChoice, UserAttributes
from gengui_stream.providers.interface import Capabilities
from gengui_stream.queries.generations import OwnedGeneration
from schemas.events import GenerationRequested, ProviderChoice
from schemas.fields import NAME_MAX, SEED_MAX
from schemas.http import CreateGeneration, FieldFault


@dataclass(frozen=True, slots=True)
class Named:
    """The provider that the client named."""

    provider: str
    model: str | None


async def requested(
    request: web.Request,
    context: ApiContext,
    owner_id: UUID,
    asked: CreateGeneration,
    *,
    retried_from: UUID | None = None,
    preferred: Preferences = NO_PREFERENCES,
) -> GenerationRequested:
    """Raises a 422 refusal for unknown providers and for sizes that the provider does not support. Without a provider
    in the request, the flags or the default choose one."""
    asked = with_choice(asked, preferred, capabilities_of(context.providers))
    chosen = await _chosen(context, owner_id, asked)
    if chosen.provider in context.providers:
        asked = with_size(asked, preferred, context.providers[chosen.provider].capabilities)
    _check_provider(context, chosen.provider, asked)
    parameters = RequestParameters(
        owner_id=owner_id,
        prompt=asked.prompt,
        seed=asked.seed if asked.seed is not None else time.time_ns() % (SEED_MAX + 1),
        width=asked.width,
        height=asked.height,
        model=context.providers[chosen.provider].model_for(chosen.model or context.settings.default_model),
        provider=chosen.provider,
        provider_choice=_recorded(chosen),
        max_attempts=context.settings.max_attempts,
        time_limit=timedelta(seconds=context.settings.generation_deadline_s),
        retried_from=retried_from,
    )
    return decide.request(new_id(), parameters, stamp_of(request))


async def requested_again(request: web.Request, context: ApiContext, ended: OwnedGeneration) -> GenerationRequested:
    """Requests the same generation again with its original model and provider. Raises a 422 refusal when that is no
    longer valid. The default model stands for none: another provider may be chosen, which does not know it by name."""
    before = ended.request
    default = context.settings.default_model
    provider = context.providers.get(before.provider)
    defaults = {default, provider.model_for(default) if provider is not None else default}
    model = None if before.model in defaults else before.model
    choice = {"model": model, "provider": before.provider if before.provider_pinned else None}
    sketch = {"prompt": before.prompt, "width": before.width, "height": before.height, "seed": before.seed}
    asked = parse(CreateGeneration, sketch | choice)
    return await requested(request, context, before.owner_id, asked, retried_from=before.generation_id)


async def _chosen(context: ApiContext, owner_id: UUID, asked: CreateGeneration) -> FlagChoice | Named:
    if asked.provider is not None:
        return Named(asked.provider, asked.model)
    return await context.flags.choose(UserAttributes(owner_id), asked.model)


def _recorded(chosen: FlagChoice | Named) -> ProviderChoice:
    if isinstance(chosen, Named):
        return ProviderChoice(source="request")
    seen = chosen.exposure
    return ProviderChoice(
        source=chosen.source,
        flag=_short(chosen.flag),
        experiment=_short(seen.experiment) if seen else None,
        variation=_short(seen.variation) if seen else None,
    )


def _short(name: str | None) -> str | None:
    """Truncated to the length of an event's field."""
    return name[:NAME_MAX] if name else None


def _check_provider(context: ApiContext, name: str, asked: CreateGeneration) -> None:
    provider = context.providers.get(name)
    if provider is None:
        raise invalid([fault("provider", f"there is no such provider; there are: {', '.join(context.providers)}")])
    faults = impossible(name, provider.capabilities, asked)
    if faults:
        raise invalid(faults)


def impossible(name: str, can: Capabilities, asked: CreateGeneration) -> list[FieldFault]:
    """A fault for each field that this provider does not support, with the supported values."""
    sides = {"width": asked.width, "height": asked.height}
    faults = [
        fault(side, f"{name} makes {can.size_min} to {can.size_max} pixels in steps of {can.size_step}")
        for side, pixels in sides.items()
        if not can.size_min <= pixels <= can.size_max or pixels % can.size_step
    ]
    if asked.model is not None and can.models is not None and asked.model not in can.models:
        faults.append(fault("model", f"{name} has no such model; it has: {', '.join(can.models)}"))
    return faults
