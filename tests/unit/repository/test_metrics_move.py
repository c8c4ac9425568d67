"""A metric that nothing moves lies on every dashboard."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from gengui_stream.metrics import Metrics

ROOT = Path(__file__).parents[3]


def test_shipped_code_moves_each_metric() -> None:
    """Directly, or by a method of `Metrics` that it calls."""
    rooms = ("agents", "api", "gengui_stream")
    sources = {path: path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")}
    own = next(
        text for path, text in sources.items() if path.name == "metrics.py" and path.parent.name == "gengui_stream"
    )
    others = "\n".join(text for text in sources.values() if text is not own)
    methods = dict(re.findall(r"    def (\w+)\(self(.*?)(?=\n    def |\n\n\ndef )", own, re.DOTALL))
    called = "\n".join(body for name, body in methods.items() if name != "__init__" and f".{name}(" in others)
    metrics = {name for name in vars(Metrics(CollectorRegistry())) if name != "registry"}
    unmoved = {name for name in metrics if f"metrics.{name}" not in others and f"self.{name}." not in called}
    assert unmoved == set()
