"""What a rebuild is asked for, and what it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gengui_stream.log.positions import Position
from gengui_stream.recovery.audit import Order
from gengui_stream.recovery.rebuild.comparison import TableComparison
from gengui_stream.recovery.rebuild.swap import Swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`tables`: to be built and swapped. `upto`: the log is folded up to here only, and nothing is swapped. `max_rate`:
    events a second. `accept_differences`: swap although rows differ. `processes`: None for as many as
    there are cores, if the log is long enough for them."""

    tables: tuple[str, ...]
    order: Order
    upto: Position | datetime | None = None
    dry_run: bool = False
    accept_differences: bool = False
    max_rate: float | None = None
    processes: int | None = None


class Watch(Protocol):
    """Follows the progress of a rebuild."""

    def step(self, text: str) -> None: ...
    def events(self, done: int, total: int) -> None: ...


@dataclass(slots=True)
class Outcome:
    """`resumed`: an interrupted rebuild went on. `events`: folded by this run, in `fold_s` seconds. `compared`: empty
    when there was nothing to compare with. `unlike_plain_fold`: generations of a sample whose rebuilt rows differ from
    their fold, record by record. `swapped`: None when the live tables are as they were; `because`: why."""

    resumed: bool = False
    events: int = 0
    fold_s: float = 0.0
    index_s: float = 0.0
    compare_s: float = 0.0
    offsets: Mapping[int, int] = field(default_factory=dict)
    compared: Sequence[TableComparison] = ()
    unlike_plain_fold: Sequence[str] = ()
    swapped: Swapped | None = None
    because: str | None = None

    @property
    def differs(self) -> bool:
        return bool(self.unlike_plain_fold) or not all(each.agrees for each in self.compared)
