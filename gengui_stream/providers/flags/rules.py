"""One payload of GrowthBook, decrypted and checked: what it says for a user. GrowthBook's own client evaluates it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import orjson
from growthbook import GrowthBookClient, Options, UserContext, decrypt

from gengui_stream.errors import PermanentError

MALFORMED: Final = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What the library raises over a payload that is not as it expects. It checks next to nothing."""

SECTIONS: Final = {
    "features": "encryptedFeatures",
    "savedGroups": "encryptedSavedGroups",
    "contextualBandits": "encryptedContextualBandits",
}


@dataclass(frozen=True, slots=True)
class Exposure:
    """A user was put into a variation of an experiment by chance, as GrowthBook's analysis wants to be told."""

    experiment: str
    variation: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a feature is for a user. `value` None: it says nothing."""

    value: object
    exposure: Exposure | None


class Rules:
    """The features of one payload. It never changes: a newer payload is another one."""

    def __init__(self, keys: frozenset[str], client: GrowthBookClient) -> None:
        self.keys = keys
        self._client = client

    async def evaluate(self, key: str, attributes: Mapping[str, object]) -> Evaluation:
        """Does not wait for anything. Raises PermanentError when the feature's rules make no sense."""
        try:
            found = await self._client.eval_feature(key, UserContext(attributes=dict(attributes)))
            exposed = found.experimentResult if found.source == "experiment" else None
            exposure = (
                Exposure(found.experiment.key, str(exposed.key))
                if exposed is not None and exposed.hashUsed and found.experiment is not None
                else None
            )
        except MALFORMED as error:
            raise PermanentError(f"its rules make no sense: {type(error).__name__}") from error
        return Evaluation(found.value, exposure)


async def read_rules(payload: bytes, decryption_key: str | None) -> Rules:
    """Raises PermanentError, which says what is wrong and shows nothing of the payload."""
    sections = _sections(payload, decryption_key)
    client = GrowthBookClient(Options(client_key=None, refresh_strategy=None))  # no key: it fetches nothing itself
    try:
        await client.set_payload(sections)
    except MALFORMED as error:
        raise PermanentError(f"the features are not as GrowthBook writes them: {type(error).__name__}") from error
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
    """An encrypted section wins: the plain one beside it is there for show, and empty."""
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
