"""Check of this machine: free disk space for the data of `make dev`."""

import asyncio
import shutil
from typing import Final

from gengui_stream.doctor.examination import Context
from gengui_stream.doctor.findings import Finding, fail, ok, warn

GIB: Final = 2**30
FAIL_BELOW: Final = 1 * GIB
WARN_BELOW: Final = 5 * GIB


async def check_disk(context: Context) -> list[Finding]:
    """No finding if the servers are not on this machine."""
    if not context.directory.is_dir():
        return []
    usage = await asyncio.to_thread(shutil.disk_usage, context.directory)
    return [evaluate(usage.free, usage.total, str(context.directory))]


def evaluate(free: int, total: int, directory: str) -> Finding:
    """Pure. Sizes in bytes."""
    name, detail = "host.disk", f"{free / GIB:.1f} of {total / GIB:.1f} GiB free at {directory}"
    remedy = "free disk space: a full disk stops PostgreSQL, Redis and Kafka"
    if free < FAIL_BELOW:
        return fail(name, detail, remedy)
    return warn(name, detail, remedy) if free < WARN_BELOW else ok(name, detail)
