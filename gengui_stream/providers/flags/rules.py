"""The feature rules of one GrowthBook payload, decrypted and validated. GrowthBook's own client evaluates them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import orjson
from growthbook import GrowthBookClient, Options, UserContext, decrypt

from gengui_stream.errors import PermanentError

MALFORMED: Final = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What the library raises over a malformed payload, since it validates almost nothing."""

SECTIONS: Final = {
    "features": "encryptedFeatures",
    "savedGroups": "encryptedSavedGroups",
    "contextualBandits": "encryptedContextualBandits",
}


@dataclass(frozen=True, slots=True)
class Exposure:
    """The variation of an experiment that a user was assigned to, for GrowthBook's analysis."""

    experiment: str
    variation: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The value of a feature for a user. `value` None: the feature has no value."""

    value: object
    exposure: Exposure | None


class Rules:
    """The features of one payload. Immutable: a newer payload is another object."""

    def __init__(self, keys: frozenset[str], client: GrowthBookClient) -> None:
        self.keys = keys
        self._client = client

    async def evaluate(self, key: str, attributes: Mapping[str, object]) -> Evaluation:
        """Does no I/O. Raises PermanentError when the feature's rules are invalid."""
        try:
            found = await self._client.eval_feature(key, UserContext(attributes=dict(attributes)))
            exposed = found.experimentResult if found.source == "experiment" else None
            exposure = (
                Exposure(found.experiment.key, str(exposed.key))
                if exposed is not None and exposed.hashUsed and found.experiment is not None
                else None
            )
        except MALFORMED as error:
            raise PermanentError(f"its rules are invalid: {type(error).__name__}") from error
        return Evaluation(found.value, exposure)


async def read_rules(payload: bytes, decryption_key: str | None) -> Rules:
    """Raises PermanentError, whose message contains nothing of the payload."""
    sections = _sections(payload, decryption_key)
    client = GrowthBookClient(Options(client_key=None, refresh_strategy=None))  # no key: it fetches nothing itself
    try:
        await client.set_payload(sections)
    except MALFORMED as error:
        raise PermanentError(f"the features are not in GrowthBook's format: {type(error).__name__}") from error
    return Rules(frozenset(sections["features"]), client)


def _sections(payload: bytes, decryption_key: str | None) -> dict[str, dict[str, object]]:
    whole = _object(payload, "the payload")
    found = {name: _section(whole, name, encrypted, decryption_key) for name, encrypted in SECTIONS.items()}
    if found["features"] is None:
        raise PermanentError("the payload has no features")
    return {name: section for name, section in found.items() if section is not None}


def _section(
    whole: Mapping[str, object], name: str, encrypted_name: str, decryption_key: str | None
) -> dict[str, object] | None:
    """An encrypted section takes precedence: GrowthBook sends an empty plain one beside it."""
    encrypted, plain = whole.get(encrypted_name), whole.get(name)
    if isinstance(encrypted, str) and encrypted:
        return _object(_decrypted(encrypted, decryption_key), f"what was decrypted as {name}")
    if plain is None or isinstance(plain, dict):
        return cast("dict[str, object] | None", plain)
    raise PermanentError(f"{name} is not an object")


def _decrypted(text: str, key: str | None) -> bytes:
    if key is None:
        raise PermanentError("the payload is encrypted, and GROWTHBOOK_DECRYPTION_KEY is not set")
    try:
        return decrypt(text, key).encode()
    except ValueError:
        raise PermanentError("GROWTHBOOK_DECRYPTION_KEY does not decrypt the payload") from None


def _object(text: bytes, what: str) -> dict[str, object]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise PermanentError(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise PermanentError(f"{what} is not an object")
    return cast(dict[str, object], found)
