"""Types of URLs and addresses in settings. Each check raises ValueError with the expected format, and shows no
secret."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, HttpUrl, SecretStr, TypeAdapter, ValidationError

from gengui_stream.settings.addresses.database_url import parse_database_url
from gengui_stream.settings.addresses.redis_url import parse_redis_url
from gengui_stream.settings.addresses.url_checks import is_port

ORIGIN: Final = r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
"""In lower case and without a path, as browsers send it."""

_url: Final = TypeAdapter(HttpUrl)


def _brokers(text: str) -> str:
    faults = [address for address in text.split(",") if not _is_host_port(address)]
    if faults:
        raise ValueError(f"{', '.join(repr(address[:80]) for address in faults)} is not host:port")
    return text


def _is_host_port(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    return bool(host) and "/" not in host and is_port(port)


def _http(text: str) -> str:
    try:
        _url.validate_python(text)
    except ValidationError:
        raise ValueError("must be an http or https URL") from None
    return text


def _database(secret: SecretStr) -> SecretStr:
    parse_database_url(secret.get_secret_value())
    return secret


def _redis(secret: SecretStr) -> SecretStr:
    parse_redis_url(secret.get_secret_value())
    return secret


def origins_of(text: str) -> frozenset[str]:
    """Origins as browsers send them, or `*`, comma-separated. Raises ValueError for anything else."""
    origins = frozenset(part.strip() for part in text.split(",") if part.strip())
    wrong = sorted(origin for origin in origins if origin != "*" and not re.fullmatch(ORIGIN, origin))
    if wrong:
        raise ValueError(f"{', '.join(repr(origin[:80]) for origin in wrong)} is not an origin: https://host[:port]")
    return origins


def _check_origins(text: str) -> str:
    origins_of(text)
    return text


Origins = Annotated[str, AfterValidator(_check_origins)]
Brokers = Annotated[str, AfterValidator(_brokers)]
"""host:port, comma-separated."""

HttpAddress = Annotated[str, AfterValidator(_http)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
