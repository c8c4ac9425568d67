"""All routes."""

from aiohttp import web

from api.accounts import account, deletion, email_change, keys, log_in, passwords, preferences, sessions, sign_up
from api.admin import audit, costs, limits, queue, users
from api.handlers import (
    cancel_delete,
    create_retry,
    documentation,
    generations,
    health,
    provider_webhooks,
    streams,
    worker_claims,
    worker_events,
    worker_jobs,
)
from api.limits import usage
from schemas.openapi import METRICS_PATH


def routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/generations", create_retry.create),
        web.get("/v1/generations", generations.page),
        web.get("/v1/generations/{id}", generations.get),
        web.delete("/v1/generations/{id}", cancel_delete.delete),
        web.post("/v1/generations/{id}/cancel", cancel_delete.cancel),
        web.post("/v1/generations/{id}/retry", create_retry.retry),
        web.get("/v1/generations/{id}/events", generations.events),
        web.get("/v1/generations/{id}/stream", streams.stream_one, allow_head=False),
        web.get("/v1/stream", streams.stream_all, allow_head=False),
        web.post("/v1/stream-tokens", streams.create_token),
        web.get("/v1/account/usage", usage.usage),
        web.post("/v1/worker/events", worker_events.report),
        web.post("/v1/worker/jobs/claim", worker_claims.claim),
        web.post("/v1/worker/jobs/{id}/heartbeat", worker_jobs.heartbeat),
        web.post("/v1/worker/jobs/{id}/upload", worker_jobs.upload),
        web.post("/v1/worker/jobs/{id}/report", worker_jobs.report),
        web.post("/v1/worker/jobs/{id}/release", worker_jobs.release),
        web.post("/v1/provider-webhooks/{provider}/{token}", provider_webhooks.called),
        *account_routes(),
        *admin_routes(),
        web.get("/livez", health.livez),
        web.get("/readyz", health.readyz),
        web.get(METRICS_PATH, health.metrics),
        web.get("/openapi.json", documentation.openapi),
        web.get("/docs", documentation.docs),
    ]


def account_routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/auth/signup", sign_up.sign_up),
        web.post("/v1/auth/verify-email", sign_up.verify_email),
        web.post("/v1/auth/resend-verification", sign_up.resend_verification),
        web.post("/v1/auth/login", log_in.log_in),
        web.post("/v1/auth/logout", log_in.log_out),
        web.post("/v1/auth/password-reset", passwords.request_reset),
        web.post("/v1/auth/password-reset/confirm", passwords.reset),
        web.post("/v1/auth/confirm-email", email_change.confirm),
        web.get("/v1/account", account.get),
        web.patch("/v1/account", account.rename),
        web.delete("/v1/account", deletion.request_deletion),
        web.post("/v1/account/restore", deletion.restore),
        web.get("/v1/account/preferences", preferences.get),
        web.patch("/v1/account/preferences", preferences.change),
        web.put("/v1/account/password", passwords.change),
        web.post("/v1/account/email", email_change.request_change),
        web.get("/v1/account/sessions", sessions.page),
        web.delete("/v1/account/sessions", sessions.end_others),
        web.delete("/v1/account/sessions/{id}", sessions.end),
        web.get("/v1/account/keys", keys.page),
        web.post("/v1/account/keys", keys.create),
        web.delete("/v1/account/keys/{key_id}", keys.revoke),
    ]


def admin_routes() -> list[web.RouteDef]:
    return [
        web.get("/v1/admin/users", users.page),
        web.get("/v1/admin/users/{id}", users.one),
        web.get("/v1/admin/users/{id}/limits", limits.get),
        web.put("/v1/admin/users/{id}/limits", limits.put),
        web.get("/v1/admin/queue", queue.report),
        web.get("/v1/admin/costs", costs.report),
        web.get("/v1/admin/audit", audit.page),
    ]


def pages() -> list[web.RouteDef]:
    """What a browser needs besides the operations of the API."""
    return [
        web.get("/", documentation.start_page),
        web.get("/docs/", documentation.docs_folder),
        web.get("/docs/assets/{release}/{name}", documentation.asset),
    ]
