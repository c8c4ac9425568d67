from gengui_stream.media.object_store import ObjectStore
from gengui_stream.worker.runpod import Report, RunpodWorker
from schemas.runpod_worker import RunpodWorkerInput


def paint(job: RunpodWorkerInput, report: Report) -> bytes:
    report(0.5)  # the share that is done, as often as you like
    return my_model(job.prompt, seed=job.seed, width=job.width, height=job.height)


def my_model(prompt: str, *, seed: int, width: int, height: int) -> bytes:
    raise NotImplementedError("load it once, outside of the function")


def worker(store: ObjectStore) -> RunpodWorker:
    return RunpodWorker(store, paint)
