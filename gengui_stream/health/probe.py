"""Queries the health of a process at a URL: the health check of the container image, which has no curl.

`python -m gengui_stream.health.probe http://127.0.0.1:3000/livez` exits with 0 when the status is 200, else with 1.
"""

import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 3.0
"""Shorter than the health check's own time-out, so that the reason is printed."""

SHOWN_MAX: Final = 200


def main(arguments: Sequence[str]) -> int:
    """Prints one line: the status and the beginning of the response, or why there is none."""
    if len(arguments) != 1 or not (url := urlsplit(arguments[0])).hostname:
        sys.stderr.write("usage: python -m gengui_stream.health.probe http://HOST:PORT/livez\n")
        return 2
    try:
        status, said = _asked(url.hostname or "", url.port or 80, url.path or "/")
    except (OSError, HTTPException) as error:
        sys.stdout.write(f"no answer from {arguments[0]}: {error!r}\n")
        return 1
    sys.stdout.write(f"{status} {said}\n")
    return 0 if status == 200 else 1


def _asked(host: str, port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, " ".join(response.read(SHOWN_MAX).decode(errors="replace").split())
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
