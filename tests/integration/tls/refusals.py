"""What the tests of all servers expect of one that is not trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from gengui_stream.errors import TlsError
from gengui_stream.settings import Settings
from tests.integration.doctor.doctoring import examined

UNKNOWN_CA: Final = "certificate verify failed: "
OTHER_HOST: Final = "IP address mismatch, certificate is not valid for '127.0.0.1'"
EXPIRED: Final = "certificate verify failed: certificate has expired"


@dataclass(frozen=True, slots=True)
class Refused:
    """`fault`, `remedy`: parts of the line."""

    fault: str
    remedy: str


def check_refusal(raised: "pytest.ExceptionInfo[TlsError]", expected: Refused) -> None:
    assert expected.fault in raised.value.fault
    assert expected.remedy in raised.value.remedy
    assert str(raised.value) == f"{raised.value.fault}: {raised.value.remedy}"


async def check_doctor(settings: Settings, tmp_path: Path, server: str, connection: str, expected: Refused) -> None:
    """The finding about the connection and that about TLS say what to do."""
    findings = await examined(settings, tmp_path, server, "tls")
    for name in (connection, f"{server}.tls"):
        found = findings[name]
        assert found.status == "fail", found
        assert expected.fault in found.detail
        assert expected.remedy in str(found.remedy)
