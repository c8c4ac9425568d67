"""Reads an env file. Its faults are named by line, and never show the line: it may hold a secret."""

import codecs
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from gengui_stream.errors import ConfigurationError

UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""As Windows writes it: PowerShell's `>`, and "Unicode" in Notepad."""


def read_env_file(path: Path) -> Mapping[str, str | None]:
    """The variables by their names; empty without the file. Raises ConfigurationError for a file that cannot be read as
    a whole, with every line at fault."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return {}
    except IsADirectoryError as error:
        raise ConfigurationError([f"{path}: is a directory; it must be a file with lines NAME=value"]) from error
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    text = _text(path, body)
    if faults := [f"{path}: line {line} is not NAME=value" for line in _unparsable(text)]:
        raise ConfigurationError(faults)
    return dotenv_values(stream=io.StringIO(text))


def _text(path: Path, body: bytes) -> str:
    if body.startswith(UTF_16):
        raise ConfigurationError([f"{path}: is UTF-16; save it as UTF-8"])
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{path}: line {line} is not UTF-8; save the file as UTF-8"]) from None


def _unparsable(text: str) -> list[int]:
    return [binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error]
