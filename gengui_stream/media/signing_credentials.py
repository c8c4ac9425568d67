"""The credentials that sign URLs, read ahead: those of a role of AWS come from a server and expire.

The worker on RunPod imports this module, in an environment without structlog.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import boto3.session
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError

from gengui_stream.errors import GenGuiError, PermanentError, TransientError
from gengui_stream.media.signed_urls import SigningKey

REFRESH_EVERY_S: Final = 30.0
"""botocore renews credentials from 15 minutes before their end; in between a refresh makes no request."""

_log = logging.getLogger(__name__)


class SigningCredentials:
    def __init__(self, session: boto3.session.Session) -> None:
        self._session = session
        self._key: SigningKey | None = None
        self._fault: GenGuiError = PermanentError("the credentials of the object store have not been read")

    def current(self) -> SigningKey:
        """Makes no request. Raises the fault of the last refresh while no credentials are known."""
        if self._key is None:
            raise self._fault
        return self._key

    def refresh(self) -> None:
        """Blocks while a server is asked for new ones. After a fault the known ones stay: they may still be valid."""
        try:
            key = self._read()
        except BotoCoreError as error:
            self._fault = TransientError(f"credentials of the object store: {error}")
            _log.warning("credentials_not_refreshed: %s", error)
        except PermanentError as error:
            self._fault = error
        else:
            self._key = self._key if key == self._key else key  # an unchanged one keeps its prepared signature

    def _read(self) -> SigningKey:
        found = self._session.get_credentials()
        if found is None:
            raise PermanentError("no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        frozen = found.get_frozen_credentials()
        return SigningKey(str(frozen.access_key), str(frozen.secret_key), frozen.token, _end_of(found))

    async def keep_fresh(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_EVERY_S):
                    await ended.wait()
                    return
            await asyncio.to_thread(self.refresh)


def _end_of(credentials: Credentials) -> datetime | None:
    """botocore has it in no public attribute, and only of credentials that it renews."""
    end: object = getattr(credentials, "_expiry_time", None)
    return end.astimezone(UTC) if isinstance(end, datetime) else None
