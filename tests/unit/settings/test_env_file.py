"""Env files as editors and shells write them."""

import traceback
from pathlib import Path

import pytest

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import load_settings


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"GEMINI_API_KEY=s3cret\nPORT=30\xff\n", "line 2 is not UTF-8; save the file as UTF-8"),
        ("GEMINI_API_KEY=s3cret\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"PORT=3001\nGEMINI_API_KEY s3cret = 'x\nLOG_LEVEL=info\n", "line 2 is not NAME=value"),
        (b"= s3cret\nPORT=3001\n", "line 1 is not NAME=value"),
        (None, "is a directory; it must be a file with lines NAME=value"),
    ],
)
def test_a_file_with_a_fault_is_named_by_line_without_its_secrets(
    body: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.mkdir() if body is None else path.write_bytes(body)
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, env_files=(path,))
    assert refused.value.faults == [f"{path}: {said}"]
    traced = "".join(traceback.format_exception(refused.value))
    assert "s3cret" not in traced


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes("\ufeffPORT=3001\r\nexport LOG_LEVEL='warning' # said once\r\n".encode())
    settings = load_settings({}, env_files=(path,))
    assert (settings.port, settings.log_level) == (3001, "warning")
