"""Operations of workers and providers: jobs, reports, webhooks."""

from typing import Final

from schemas.http import WebhookReceipt
from schemas.operations.operation import Operation
from schemas.worker import WorkerEventOutcomes, WorkerEvents
from schemas.worker_jobs import (
    ClaimedJob,
    ClaimJob,
    JobHeartbeat,
    JobReceipt,
    JobRelease,
    JobReport,
    JobStanding,
    JobUpload,
    UploadUrl,
)

_JOB: Final = "/v1/worker/jobs/{id}"
_JOB_REFUSALS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)

WORKERS: Final = (
    Operation("post", "/v1/worker/events", "report", "workers", "Report events of workers, each accepted or refused",
              {200: WorkerEventOutcomes}, (400, 401, 403, 404, 408, 413, 415, 422, 503), WorkerEvents, scope="worker"),
    Operation("post", "/v1/worker/jobs/claim", "claim_job", "workers", "Lease the oldest queued job, or wait for one",
              {200: ClaimedJob, 204: None}, (400, 401, 403, 408, 413, 415, 422, 503), ClaimJob, scope="worker"),
    Operation("post", f"{_JOB}/heartbeat", "job_heartbeat", "workers", "Extend the lease; whether the job goes on",
              {200: JobStanding}, _JOB_REFUSALS, JobHeartbeat, scope="worker"),
    Operation("post", f"{_JOB}/upload", "job_upload", "workers", "A signed URL to upload one output",
              {200: UploadUrl}, _JOB_REFUSALS, JobUpload, scope="worker"),
    Operation("post", f"{_JOB}/report", "job_report", "workers", "Report a status of the job",
              {200: JobReceipt}, _JOB_REFUSALS, JobReport, scope="worker"),
    Operation("post", f"{_JOB}/release", "job_release", "workers", "Give the job back: it is queued again at once",
              {204: None}, _JOB_REFUSALS, JobRelease, scope="worker"),
    Operation("post", "/v1/provider-webhooks/{provider}/{token}", "called", "providers",
              "Webhook of a provider: an attempt has ended; the body is ignored", {200: WebhookReceipt},
              (400, 404, 408, 413, 415, 503), None, ("webhook_provider", "webhook_token"), auth="none"),
)  # fmt: skip
