"""Why TLS with a server failed, and the setting that mends it.

The codes are those of OpenSSL's X509_STORE_CTX_get_error(3), the reasons those of its ssl.h.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gengui_stream.errors import TlsError

NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
OTHER_NAME: Final = frozenset({62, 64})
OTHER_NAME_AT_BOTOCORE: Final = re.compile(r"^hostname .* doesn't match")
"""urllib3 compares the names itself there."""

UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21, 27})

OURS_REFUSED: Final = re.compile(
    r"ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)"
)
"""Alerts of the server about the certificate of the client."""

NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
NO_COMMON: Final = re.compile(r"PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_SHARED_CIPHER")
NO_REASON: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
"""In TLS 1.2 also for a missing certificate of the client."""

COMMON: Final = "enable TLS 1.2 or 1.3 with common ciphers on it"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The names of the settings of one server: its address, its CA, and our certificate."""

    address: str
    ca: str
    certificate: str


KAFKA: Final = TlsSettings("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_CA_FILE", "KAFKA_CERT_FILE and KAFKA_KEY_FILE")
POSTGRESQL: Final = TlsSettings("DATABASE_URL or DB_HOST", "DB_CA_FILE", "sslcert and sslkey in DATABASE_URL")
REDIS: Final = TlsSettings("REDIS_URL", "REDIS_CA_FILE", "ssl_certfile and ssl_keyfile in REDIS_URL")
SMTP: Final = TlsSettings("SMTP_HOST", "SMTP_CA_FILE", "a relay in front of the SMTP server that has one")
OBJECT_STORE: Final = TlsSettings("S3_ENDPOINT", "S3_CA_FILE", "a proxy in front of the object store that has one")


def refusal(error: BaseException, where: str, settings: TlsSettings) -> TlsError | None:
    """Pure. None: no certificate and no version of TLS is the cause of the error. `where`: the server, for the
    message."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return TlsError(f"{where}: certificate verify failed: {_words(cause)}", _verification(cause, settings))
            case ValueError() if OTHER_NAME_AT_BOTOCORE.search(str(cause)):
                return TlsError(f"{where}: certificate verify failed: {cause}", _other_name(settings))
            case ssl.SSLError(reason=str(name)) if remedy := _remedy(name, settings):
                return TlsError(f"{where}: TLS: {name}", remedy)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Clients wrap errors in errors of their own, with and without `from`."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            waiting += [cause.__cause__, cause.__context__, *cause.args]
            yield cause


def _words(error: ssl.SSLCertVerificationError) -> str:
    return error.verify_message.rstrip(".") or str(error)


def _verification(error: ssl.SSLCertVerificationError, settings: TlsSettings) -> str:
    match error.verify_code:
        case code if code == EXPIRED:
            return "renew the server's certificate, or that of its CA"
        case code if code == NOT_YET_VALID:
            return "correct the clock of this machine, or the server's certificate"
        case code if code in OTHER_NAME:
            return _other_name(settings)
        case code if code in UNKNOWN_ISSUER:
            return f"set {settings.ca} to a PEM file with the CA of the server's certificate"
        case _:
            return f"have the server's certificate issued again, or set {settings.ca} to its CA"


def _other_name(settings: TlsSettings) -> str:
    return f"set {settings.address} to a name in the server's certificate, or have it issued for this one"


def _remedy(reason: str, settings: TlsSettings) -> str | None:
    if OURS_REFUSED.search(reason):
        return f"set {settings.certificate} to a certificate that the server accepts: it asks for one"
    if reason in NO_TLS:
        return f"correct {settings.address}: the server does not speak TLS on this port"
    if reason == NO_REASON:
        return f"set {settings.certificate} if the server asks for a certificate; else {COMMON}"
    return COMMON if NO_COMMON.search(reason) else None
