"""Older names of settings and older words for their values, each with its current one.

An older `.env` stays valid: an older name applies when the current one is unset, and is logged at start. Two older
names with different values for one setting are a fault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from gengui_stream.settings.sources import Variable

T = TypeVar("T")

Texts: TypeAlias = Mapping[str, str]
"""Every variable that is set, by its name in capitals."""

ENVIRONMENTS: Final = {"development": "development", "test": "development", "production": "production"}
LOG_LEVELS: Final = {"trace": "debug", "warn": "warning", "fatal": "error"}
PROVIDERS: Final = {name: name for name in ("gemini", "runpod", "local")}
BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
MINIO_PORT: Final = "9000"


@dataclass(frozen=True, slots=True)
class OlderName:
    """`read`: converts the value, given all variables, to the value of `new`. Raises ValueError for an invalid
    value."""

    new: str
    read: Callable[[str, Texts], str]


@dataclass(frozen=True, slots=True)
class Renaming:
    """`used`: false when the current name is set too, which takes precedence."""

    old: str
    new: str
    used: bool


@dataclass(frozen=True, slots=True)
class Translation:
    """`variables`: by current name."""

    variables: Mapping[str, Variable]
    renamings: tuple[Renaming, ...]
    faults: tuple[str, ...]


def _same(text: str, _: Texts) -> str:
    return text


def _environment(text: str, _: Texts) -> str:
    return _word(ENVIRONMENTS, text)


def _provider(text: str, _: Texts) -> str:
    return _word(PROVIDERS, text)


def _runpod(text: str, texts: Texts) -> str:
    """`false` leaves the choice of another provider to IMAGE_INFERENCE_PROVIDER."""
    if _word(BOOLEANS, text):
        return "runpod"
    other = texts.get("IMAGE_INFERENCE_PROVIDER", "").lower()
    return other if other in PROVIDERS and other != "runpod" else "local"


def _minio_endpoint(text: str, texts: Texts) -> str:
    """A host, with or without a port, or a URL."""
    if "://" in text:
        return text
    tls = BOOLEANS.get((texts.get("MINIO_USE_SSL") or texts.get("MINIO_SECURE") or "false").lower())
    if tls is None:
        raise ValueError("MINIO_USE_SSL must be true or false")
    address = text if ":" in text else f"{text}:{texts.get('MINIO_PORT') or MINIO_PORT}"
    return f"{'https' if tls else 'http'}://{address}"


def _word(words: Mapping[str, T], text: str) -> T:
    found = words.get(text.strip().lower())
    if found is None:
        raise ValueError(f"must be one of {', '.join(words)}")
    return found


OLDER_NAMES: Final[Mapping[str, OlderName]] = {
    "NODE_ENV": OlderName("ENVIRONMENT", _environment),
    "IMAGE_INFERENCE_PROVIDER": OlderName("DEFAULT_PROVIDER", _provider),
    "ENABLE_RUNPOD": OlderName("DEFAULT_PROVIDER", _runpod),
    "AWS_S3_BUCKET": OlderName("S3_BUCKET", _same),
    "S3_BUCKET_NAME": OlderName("S3_BUCKET", _same),
    "AWS_DEFAULT_REGION": OlderName("AWS_REGION", _same),
    "MINIO_ENDPOINT": OlderName("S3_ENDPOINT", _minio_endpoint),
    "MINIO_BUCKET": OlderName("S3_BUCKET", _same),
    "MINIO_BUCKET_NAME": OlderName("S3_BUCKET", _same),
    "MINIO_REGION": OlderName("AWS_REGION", _same),
    "MINIO_ACCESS_KEY": OlderName("AWS_ACCESS_KEY_ID", _same),
    "MINIO_SECRET_KEY": OlderName("AWS_SECRET_ACCESS_KEY", _same),
}

OF_MINIO_ENDPOINT: Final = frozenset({"MINIO_PORT", "MINIO_USE_SSL", "MINIO_SECURE"})
"""Parts of MINIO_ENDPOINT, which have no effect without it."""


def translate(given: Mapping[str, Variable]) -> Translation:
    """Pure. Returns the variables under current names; each keeps the name under which it was set."""
    texts = {name: variable.text for name, variable in given.items()}
    older = OLDER_NAMES.keys() | (OF_MINIO_ENDPOINT if "MINIO_ENDPOINT" in given else set())
    variables = {name: variable for name, variable in given.items() if name not in older}
    renamings = _modern_level(variables)
    faults: list[str] = []
    for old, rule in OLDER_NAMES.items():
        if old not in given:
            continue
        renamings.append(Renaming(old, rule.new, used=rule.new not in given))
        if rule.new in given:
            continue
        try:
            text = rule.read(given[old].text, texts)
        except ValueError as error:
            faults.append(f"{old}: {error}; or set {rule.new} instead")
        else:
            faults += _set(variables, rule.new, replace(given[old], text=text))
    return Translation(variables, tuple(renamings), tuple(faults))


def _set(variables: dict[str, Variable], new: str, variable: Variable) -> list[str]:
    """The fault of two older names with different values."""
    known = variables.setdefault(new, variable)
    if known.text == variable.text:
        return []
    return [f"{known.name}, {variable.name}: they disagree about {new}: set {new} instead"]


def _modern_level(variables: dict[str, Variable]) -> list[Renaming]:
    level = variables.get("LOG_LEVEL")
    word = LOG_LEVELS.get(level.text.lower()) if level else None
    if level is None or word is None:
        return []
    variables["LOG_LEVEL"] = replace(level, text=word)
    return [Renaming(f"LOG_LEVEL={level.text}", f"LOG_LEVEL={word}", used=True)]
