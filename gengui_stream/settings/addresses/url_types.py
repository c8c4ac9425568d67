"""Types of URLs and addresses in settings. Each check raises ValueError with the expected format, and shows no
secret."""

from typing import Annotated, Final

from pydantic import AfterValidator, HttpUrl, SecretStr, TypeAdapter, ValidationError

from gengui_stream.settings.addresses.database_url import parse_database_url
from gengui_stream.settings.addresses.redis_url import parse_redis_url

_url: Final = TypeAdapter(HttpUrl)


def _brokers(text: str) -> str:
    faults = [address for address in text.split(",") if not _is_host_port(address)]
    if faults:
        raise ValueError(f"{', '.join(repr(address[:80]) for address in faults)} is not host:port")
    return text


def _is_host_port(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    return bool(host) and "/" not in host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536


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


Brokers = Annotated[str, AfterValidator(_brokers)]
"""host:port, comma-separated."""

HttpAddress = Annotated[str, AfterValidator(_http)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
