"""Cursors of lists that are in the order of a time and an id."""

import base64
from datetime import datetime
from typing import Final
from uuid import UUID

from api.http.parsing import Query

NO_CURSOR: Final = "is not a cursor of this API: use next_cursor of the previous page unchanged"


def cursor_after(moment: datetime, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode()


def cursor_of(query: Query) -> tuple[datetime, UUID] | None:
    """Of the parameter `cursor`; None for the first page."""
    text = query.text("cursor", 200)
    if text is None:
        return None
    try:
        moment, row_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        after = query.placed(datetime.fromisoformat(moment)), UUID(row_id)
    except ValueError:
        after = None
    if after is None or cursor_after(*after) != text:
        query.refuse("cursor", NO_CURSOR)
    return after
