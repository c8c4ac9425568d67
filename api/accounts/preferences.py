"""The preferences of the caller. Requests of generations apply them where they leave fields out."""

from collections.abc import Mapping

from aiohttp import web

from api.accounts.preferred import all_have, capabilities_of
from api.auth import session_of
from api.context import context_of
from api.handlers.new_generations import impossible
from api.http.bodies import read_model
from api.http.parsing import Query
from api.http.problems import fault, invalid
from api.http.responses import json_response
from gengui_stream.accounts import preferences
from gengui_stream.accounts.preferences import Preferences
from gengui_stream.postgres.pool import transient_errors
from gengui_stream.providers.interface import Capabilities
from schemas.accounts import PreferencesChange, PreferencesResource
from schemas.http import CreateGeneration, FieldFault


async def get(request: web.Request) -> web.Response:
    principal, _ = await session_of(request)
    Query(request).check()
    return _response(await preferences.find(context_of(request).pool, principal.user_id))


async def change(request: web.Request) -> web.Response:
    """Fields that the body leaves out stay as they are; null removes one."""
    principal, _ = await session_of(request)
    body, context = await read_model(request, PreferencesChange), context_of(request)
    changes = body.model_dump(exclude_unset=True)
    with transient_errors():
        async with context.pool.acquire() as connection, connection.transaction():
            made = preferences.changed(await preferences.lock(connection, principal.user_id), changes)
            if faults := faults_of(made, capabilities_of(context.providers)):
                raise invalid(faults)
            await preferences.store(connection, principal.user_id, made)
    context.preferences.forget(principal.user_id)
    return _response(made)


def _response(found: Preferences) -> web.Response:
    return json_response(PreferencesResource(**found.model_dump()).model_dump(mode="json"))


def faults_of(preferred: Preferences, can: Mapping[str, Capabilities]) -> list[FieldFault]:
    """Of what no request could ask for. Pure."""
    asked = CreateGeneration.model_validate({"prompt": "any", **preferred.model_dump(exclude_none=True)})
    if preferred.provider is not None:
        if preferred.provider not in can:
            return [fault("provider", f"there is no such provider; there are: {', '.join(can)}")]
        return impossible(preferred.provider, can[preferred.provider], asked)
    if not all_have(can, preferred.model):
        return [fault("model", "not every provider has it: prefer the provider as well")]
    each = [impossible(name, capabilities, asked) for name, capabilities in can.items()]
    return min(each, key=len, default=[])
