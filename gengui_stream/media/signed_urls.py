"""Signed URLs: AWS Signature Version 4 in the query string, as the S3 reference describes it.

Signing here instead of asking boto3 makes a URL some fifty times cheaper, and lets the moment be rounded: within half
a life every process gives the same URL for the same key, so that browsers and proxies keep what they fetched.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The current credentials; temporary ones have a token. `ends_at`: of those from a server, which then end, and with
    them each URL that they signed; None: it is not known that they end."""

    access_key_id: str
    secret: str
    token: str | None
    ends_at: datetime | None = None


class SignedUrl(NamedTuple):
    """A URL, and the moment from which the object store refuses it."""

    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """The URL of a bucket for clients. `base`: without a trailing slash, with the bucket if it is in the path."""

    base: str
    region: str

    @classmethod
    def of(cls, endpoint: str, bucket: str, region: str) -> "BucketUrl":
        """At a custom endpoint, which has the bucket in the path."""
        return cls(f"{endpoint.rstrip('/')}/{bucket}", region)

    @property
    def host(self) -> str:
        """As every client sends it: in lower case, without the default port of the scheme (RFC 9110, 7.2; RFC 3986,
        6.2.3)."""
        parts = urlsplit(self.base)
        name = (parts.hostname or "").lower()
        host = f"[{name}]" if ":" in name else name
        return host if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{parts.port}"

    @property
    def path(self) -> str:
        return urlsplit(self.base).path


class UrlSigner:
    """Signs for one bucket. A GET URL is valid for `ttl_s` from the start of its slot; a slot lasts half of `ttl_s`, so
    a new URL is valid for at least that long."""

    def __init__(self, bucket: BucketUrl, credentials: Callable[[], SigningKey], *, ttl_s: int) -> None:
        self._bucket = bucket
        self._host, self._path = bucket.host, bucket.path
        self._credentials = credentials
        self._ttl = ttl_s
        self._slot_s = max(1, ttl_s // 2)
        self._slot: _Slot | None = None

    def url(self, key: str, now_s: float) -> SignedUrl:
        """The URL at Unix time `now_s`."""
        begins, credentials = int(now_s) // self._slot_s * self._slot_s, self._credentials()
        if self._slot is None or self._slot.begins != begins or self._slot.credentials is not credentials:
            self._slot = self._open_slot(begins, credentials)
        return self._url(self._slot, "GET", quote(key, safe="/~"), f"host:{self._host}\n", "host")

    def upload_url(self, key: str, headers: Mapping[str, str], now_s: float, valid_s: int) -> SignedUrl:
        """A PUT URL, valid for `valid_s` from `now_s`. `headers`: those that the request must have, exactly so: the
        store rejects any other value. Names in lower case."""
        signed = {"host": self._host, **headers}
        slot = self._open_slot(int(now_s), self._credentials(), valid_s=valid_s, headers=";".join(sorted(signed)))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        return self._url(slot, "PUT", quote(key, safe="/~"), lines, ";".join(sorted(signed)))

    def _open_slot(
        self, begins: int, credentials: SigningKey, *, valid_s: int | None = None, headers: str = "host"
    ) -> "_Slot":
        moment, seconds = datetime.fromtimestamp(begins, UTC), self._ttl if valid_s is None else valid_s
        stamp, scope = f"{moment:%Y%m%dT%H%M%SZ}", f"{moment:%Y%m%d}/{self._bucket.region}/s3/aws4_request"
        query = {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": headers,
        }
        if credentials.token:
            query["X-Amz-Security-Token"] = credentials.token
        line = "&".join(f"{name}={quote(query[name], safe='~')}" for name in sorted(query))
        ends_at = moment + timedelta(seconds=seconds)
        return _Slot(
            begins=begins,
            credentials=credentials,
            query=line,
            preamble=f"{ALGORITHM}\n{stamp}\n{scope}\n",
            key=_derived(credentials.secret, scope),
            ends_at=ends_at if credentials.ends_at is None else min(ends_at, credentials.ends_at),
        )

    def _url(self, slot: "_Slot", method: str, key: str, headers: str, names: str) -> SignedUrl:
        request = f"{method}\n{self._path}/{key}\n{slot.query}\n{headers}\n{names}\nUNSIGNED-PAYLOAD"
        text = slot.preamble + hashlib.sha256(request.encode()).hexdigest()
        signature = hmac.digest(slot.key, text.encode(), "sha256").hex()
        return SignedUrl(f"{self._bucket.base}/{key}?{slot.query}&X-Amz-Signature={signature}", slot.ends_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """The part that all URLs of one slot share."""

    begins: int
    credentials: SigningKey
    query: str
    preamble: str
    key: bytes
    ends_at: datetime


def _derived(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
