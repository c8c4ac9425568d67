"""The result of a schedule."""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field, fields

from tests.faults.schedule.plan import Fault
from tests.oracle.evidence import Anomaly


@dataclass(slots=True, kw_only=True)
class ScheduleReport:
    """`faults`: how often each kind struck each target. `statuses`: how the generations ended. `responses`: of the API,
    by method and status. `found`: the anomalies, each once."""

    seed: int
    count: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    records: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    responses: Counter[str] = field(default_factory=Counter)
    streamed: int = 0
    stream_connections: int = 0
    provider_calls: int = 0
    restarts: int = 0
    pictures: int = 0
    thumbnails: int = 0
    cancels: int = 0
    deletions: int = 0
    load_average: tuple[float, float, float] = (0.0, 0.0, 0.0)
    found: list[Anomaly] = field(default_factory=list)

    def struck(self, fault: Fault) -> None:
        self.faults[f"{fault.kind} {fault.target}"] += 1

    def add(self, anomalies: list[Anomaly]) -> list[Anomaly]:
        """Those that were not known."""
        new = [anomaly for anomaly in anomalies if anomaly not in self.found]
        self.found += new
        return new

    def as_json(self) -> str:
        return json.dumps({**self.document(), "anomalies": len(self.found), "cpus": os.cpu_count()})

    def document(self) -> dict[str, object]:
        """`asdict` would count the items of a Counter."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
        return {**plain, "found": [asdict(anomaly) for anomaly in self.found]}

    def as_text(self) -> str:
        by_kind = Counter(name.split(" ")[0] if "long" not in name else "long pause" for name in self.faults.elements())
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(by_kind.items()))
        lines = [
            f"seed {self.seed}: {self.faults.total()} faults in {self.seconds:.0f} s, {len(self.found)} anomalies",
            f"  faults: {kinds}",
            *(f"    {count:4} {name}" for name, count in sorted(self.faults.items())),
            f"  {self.accepted} generations accepted, {self.records} records on the log; ended: {dict(self.statuses)}",
            f"  attempts: {dict(sorted(self.attempts.items()))}; runs at fake providers: {self.provider_calls}",
            f"  images {self.pictures}, thumbnails {self.thumbnails}, cancellations {self.cancels}, deletions "
            f"{self.deletions}",
            f"  responses: {dict(sorted(self.responses.items()))}",
            f"  events streamed: {self.streamed} over {self.stream_connections} connections; restarts: {self.restarts}",
            f"  load average at the end: {self.load_average} on {os.cpu_count()} processors",
            *(f"  {anomaly.kind}: {anomaly.subject}: {anomaly.detail}" for anomaly in self.found[:200]),
        ]
        return "\n".join(lines)
