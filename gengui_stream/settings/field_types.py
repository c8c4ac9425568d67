"""Types of single settings. Each check raises ValueError with the expected format, and shows no secret."""

import re
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, FilePath, SecretStr

from gengui_stream.domain.prices import parse_prices
from gengui_stream.settings.addresses.email_address import check_sender
from gengui_stream.settings.addresses.url_checks import trusting

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
NetworkTimeout = Annotated[float, Field(ge=0.1, le=3_600)]
Count = Annotated[int, Field(ge=1)]


def _check_aes_key(key: SecretStr) -> SecretStr:
    try:
        good = len(b64decode(key.get_secret_value(), validate=True)) == 16
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be 16 bytes in base64, as GrowthBook shows it")
    return key


AesKey = Annotated[SecretStr, AfterValidator(_check_aes_key)]


def _check_fernet_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is None:
        raise ValueError("must be 32 bytes in URL-safe base64, as `gengui-stream accounts new-key` prints it")
    return key


FernetKey = Annotated[SecretStr, AfterValidator(_check_fernet_key)]


def _check_header(key: SecretStr) -> SecretStr:
    if not all("!" <= character <= "~" for character in key.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces: it is sent in a header")
    return key


HeaderKey = Annotated[SecretStr, AfterValidator(_check_header)]


def _check_certificates(path: Path) -> Path:
    try:
        trusting(str(path))
    except OSError:  # ssl.SSLError is one
        raise ValueError("no certificates can be read from it: it must be a PEM file") from None
    return path


CaFile = Annotated[FilePath, AfterValidator(_check_certificates)]
"""Certificates of certificate authorities."""


Sender = Annotated[str, AfterValidator(check_sender)]


def timeouts_by_model(text: str) -> dict[str, float]:
    """`name=seconds`, comma separated. Raises ValueError for anything else."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=\x00]{1,100})=([0-9]{1,6})", part)
        if match is None or not 5 <= int(match[2]) <= 604_800:
            raise ValueError(f"{part[:80]!r} is not name=seconds, from 5 to 604800 seconds")
        found[match[1]] = float(match[2])
    return found


def _check_timeouts(text: str) -> str:
    timeouts_by_model(text)
    return text


TimeoutsByModel = Annotated[str, AfterValidator(_check_timeouts)]


def _check_prices(text: str) -> str:
    parse_prices(text)
    return text


Prices = Annotated[str, AfterValidator(_check_prices)]
ModelNames = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}(,[A-Za-z0-9._-]{1,100}){0,31}$")]
ModelNamesOrAny = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9._-]{1,100}(,[A-Za-z0-9._-]{1,100}){0,31})?$")]
ModelName = Annotated[str, Field(min_length=1, max_length=100)]


FORMS: Final = {
    r"^[A-Za-z0-9._-]{1,64}$": "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -",
    r"^[A-Za-z0-9._-]{1,200}$": "must be 1 to 200 of the characters A-Z a-z 0-9 . _ -",
    r"^[A-Za-z0-9_-]{1,200}$": "must be 1 to 200 of the characters A-Z a-z 0-9 _ -",
    r"^[A-Za-z0-9_-]{1,100}$": "must be 1 to 100 of the characters A-Z a-z 0-9 _ -",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "must be the name of a bucket: 3 to 63 of the characters a-z 0-9 . -, "
    "the first and the last a letter or a digit",
    r"^([a-z0-9_-]{1,100}(,[a-z0-9_-]{1,100}){0,15})?$": "must be at most 16 names of providers, separated by commas "
    "without spaces",
    r"^[A-Za-z0-9._-]{1,100}(,[A-Za-z0-9._-]{1,100}){0,31}$": "must be at most 32 names of models, separated by commas "
    "without spaces",
    r"^(\*|[A-Za-z0-9._-]{1,100}(,[A-Za-z0-9._-]{1,100}){0,31})?$": "must be * or at most 32 names of models, "
    "separated by commas without spaces",
}
"""By pattern: the fault of a setting that does not match it."""
