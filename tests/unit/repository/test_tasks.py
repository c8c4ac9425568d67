"""A task whose error is lost leaves a process that looks healthy and no longer works (law 6)."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]

AWAITED = {
    "agents/app_runner.py": "the app and its stop",
    "api/readiness.py": "a check, awaited with a time-out",
    "gengui_stream/bootstrap.py": "the role",
    "gengui_stream/dispatch/handler.py": "the calls of a batch",
    "gengui_stream/doctor/examination.py": "the checks",
    "gengui_stream/jobs/loop.py": "two events",
    "gengui_stream/log/ends.py": "shielded, so that aiokafka is not cancelled while it connects",
    "gengui_stream/log/reader.py": "shielded, as the read of the log's ends",
    "gengui_stream/log/self_healing_producer.py": "a connection; the end of a replaced producer, whose error is logged",
    "gengui_stream/process/first_answer.py": "the attempts",
    "gengui_stream/providers/flags/provider_flags.py": "after an error, which is logged, the flags stay as they are",
}
"""The modules that make tasks outside a group, each with what awaits them."""


def test_a_task_is_made_in_a_group_or_awaited() -> None:
    made = re.compile(r"asyncio\.(ensure_future|create_task)\(|get_running_loop\(\)\.create_task\(")
    modules = [path for room in ("agents", "api", "gengui_stream") for path in (ROOT / room).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in modules if made.search(path.read_text())}
    roles = {name for name in found if not name.startswith(("gengui_stream/dev/", "gengui_stream/fakes/"))}
    assert roles == set(AWAITED)
