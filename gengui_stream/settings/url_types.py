"""Types of URLs and addresses in settings. Each check raises ValueError with the expected format, and shows no
secret."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, HttpUrl, SecretStr, TypeAdapter, ValidationError

from gengui_stream.settings.database_url import parse_database_url

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


def _with_scheme(*schemes: str) -> AfterValidator:
    beginnings = [f"{scheme}://" for scheme in schemes]

    def check(secret: SecretStr) -> SecretStr:
        if not secret.get_secret_value().startswith(tuple(beginnings)):
            raise ValueError(f"must begin with {' or '.join(beginnings)}")
        if not _has_good_port(secret.get_secret_value()):
            raise ValueError("its port must be a number up to 65535")
        return secret

    return AfterValidator(check)


def _database(secret: SecretStr) -> SecretStr:
    parse_database_url(secret.get_secret_value())
    return secret


def _has_good_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


Brokers = Annotated[str, AfterValidator(_brokers)]
"""host:port, comma-separated."""

HttpAddress = Annotated[str, AfterValidator(_http)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
RedisUrl = Annotated[SecretStr, _with_scheme("redis", "rediss", "unix")]
