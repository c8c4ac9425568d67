"""A request of a generation, with the preferences of its user where it leaves fields out. Pure.

No preference makes a request invalid that would be valid without it: one that does not fit is left out.
"""

from collections.abc import Mapping
from typing import Final

from gengui_stream.accounts.preferences import Preferences
from gengui_stream.providers.interface import Capabilities, Providers
from schemas.http import CreateGeneration

SIDES: Final = ("width", "height")


def capabilities_of(providers: Providers) -> Mapping[str, Capabilities]:
    return {name: provider.capabilities for name, provider in providers.items()}


def with_choice(asked: CreateGeneration, preferred: Preferences, can: Mapping[str, Capabilities]) -> CreateGeneration:
    """Provider and model. The preferred provider applies if it exists and has the model that the request names; the
    preferred model with the preferred provider, and without one if every provider has it."""
    given, provider, model = asked.model_fields_set, asked.provider, asked.model
    if "provider" not in given and preferred.provider in can and _has(can, preferred.provider, model):
        provider = preferred.provider
    if "model" not in given and provider == preferred.provider and _has(can, provider, preferred.model):
        model = preferred.model
    return asked.model_copy(update={"provider": provider, "model": model})


def with_size(asked: CreateGeneration, preferred: Preferences, can: Capabilities) -> CreateGeneration:
    """The sides that the chosen provider makes."""
    sides = {side: getattr(preferred, side) for side in SIDES if side not in asked.model_fields_set}
    return asked.model_copy(update={side: pixels for side, pixels in sides.items() if _makes(can, pixels)})


def all_have(can: Mapping[str, Capabilities], model: str | None) -> bool:
    return all(_has(can, name, model) for name in can)


def _has(can: Mapping[str, Capabilities], provider: str | None, model: str | None) -> bool:
    if model is None:
        return True
    if provider is None:
        return all_have(can, model)
    models = can[provider].models if provider in can else ()
    return models is None or model in models


def _makes(can: Capabilities, pixels: int | None) -> bool:
    return pixels is not None and can.size_min <= pixels <= can.size_max and pixels % can.size_step == 0
