"""The table of problem codes is complete: in the code, in the OpenAPI document, and in docs/api.md."""

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from schemas.operations.table import OPERATIONS
from schemas.problem_codes import PROBLEM_CODES, described

ROOT = Path(__file__).parents[3]
KNOWN = {(known.status, known.code) for known in PROBLEM_CODES}


def _raised() -> Iterator[tuple[int, str]]:
    """Status and code of each `Refusal(…)` in the API that names both."""
    for path in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="Refusal"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ):
                    yield status, code


def test_every_refusal_of_the_api_is_in_the_table() -> None:
    found = set(_raised())
    assert len(found) > 15
    assert found <= KNOWN
    named_elsewhere = {(500, "internal"), (405, "method_not_allowed"), (409, "not_ended")}
    of_a_batch = ("invalid_event", "foreign_object_key", "lease_of_another_key")
    named_elsewhere |= {(422, code) for code in of_a_batch}
    assert KNOWN - found <= named_elsewhere
    assert HTTPStatus(405).phrase == "Method Not Allowed", "the code of a status that aiohttp answers with"


def test_every_documented_status_names_a_code() -> None:
    for operation in OPERATIONS:
        for status in operation.refusals:
            assert described(operation, status), (operation.name, status)


def test_the_page_has_every_code_with_its_status() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (`.*?`) \|", page, re.MULTILINE)
    assert {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)} == KNOWN
