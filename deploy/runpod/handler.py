"""The worker of a RunPod Serverless endpoint: `python handler.py`, with the settings of an object store.

For a model of your own, load it here and give `RunpodWorker` a function that makes an image of a job: `paint=...`.
"""

import os
import sys
from collections.abc import Mapping
from functools import partial

from runpod import serverless

from gengui_stream.errors import ConfigurationError
from gengui_stream.media.object_store import ObjectStore
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.worker.runpod import RunpodWorker, store_settings


def main() -> int:
    """Serves jobs until RunPod ends the container. Exit code 78 and a line for each fault when a setting is wrong."""
    try:
        settings = store_settings(os.environ)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"handler: {fault}\n" for fault in error.faults))
        return ExitCode.CONFIGURATION
    worker = RunpodWorker(ObjectStore(settings))

    async def handler(job: Mapping[str, object]) -> Mapping[str, object]:
        return await worker.handle(job.get("input"), partial(serverless.progress_update, job))

    serverless.start({"handler": handler})
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
