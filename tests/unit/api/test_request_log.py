"""What the log has of a request: enough to find it by the id that a client quotes, and no secret of its path."""

from structlog.testing import capture_logs

from tests.unit.api.starting import get, starting

SECRET = "5ecret"
REFUSED = [
    ("GET", "/nowhere", 404, "not_found", "unmatched"),
    ("PUT", "/v1/generations", 405, "method_not_allowed", "unmatched"),
    ("GET", "/v1/generations", 401, "unauthorized", "/v1/generations"),
    ("PUT", f"/v1/provider-webhooks/runpod/{SECRET}", 405, "method_not_allowed", "unmatched"),
    ("POST", f"/v1/provider-webhooks/runpod/{SECRET}", 503, "starting", "/v1/provider-webhooks/{provider}/{token}"),
    ("GET", f"/v1/stream?token={SECRET}", 503, "starting", "/v1/stream"),
]


async def test_a_refusal_is_found_by_the_id_that_the_client_has() -> None:
    async with starting() as port:
        for method, path, status, code, route in REFUSED:
            for sent in ({}, {"X_Request_ID": "quoted-1"}):
                with capture_logs() as logs:
                    found = await get(port, path, method, **sent)
                quoted = found.headers["x-request-id"]
                assert (found.status, quoted == "quoted-1") == (status, bool(sent))
                [line] = [line for line in logs if line["log_level"] == "info" and line["event"] == "request_refused"]
                shown = {name: line[name] for name in ("correlation_id", "status", "code", "method", "route")}
                assert shown == {
                    "correlation_id": quoted, "status": status, "code": code, "method": method, "route": route
                }  # fmt: skip
                assert SECRET not in str(logs), path


async def test_at_debug_each_request_has_its_id() -> None:
    async with starting() as port:
        for path, status in (("/livez", 200), ("/nowhere", 404)):
            with capture_logs() as logs:
                found = await get(port, path, X_Request_ID="quoted-2")
            [line] = [line for line in logs if line["event"] == "request"]
            assert (line["log_level"], line["correlation_id"], line["status"]) == ("debug", "quoted-2", status)
            assert found.headers["x-request-id"] == "quoted-2"
