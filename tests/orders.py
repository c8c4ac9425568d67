"""The order of an operator that tests use where it does not matter."""

from typing import Final

from gengui_stream.recovery.audit import Order

ORDER: Final = Order("a test", "tested")
