"""What Gemini's errors mean. A row's word is the `status` of the error, or the `reason` of its google.rpc.ErrorInfo."""

from typing import Final

from gengui_stream.providers.error_table import RFC_9110, Meaning, Row

API_ERRORS: Final = "https://ai.google.dev/gemini-api/docs/generate-content/api-errors (HTTP error codes)"
RPC_CODES: Final = "googleapis, google/rpc/code.proto (HTTP Mapping)"
ERROR_REASONS: Final = "googleapis, google/api/error_reason.proto"
SDK: Final = "google-genai, _api_client.py, _RETRY_HTTP_STATUS_CODES"

ERRORS: Final = (
    Row(400, Meaning.PERMANENT, API_ERRORS, "FAILED_PRECONDITION"),  # the free tier is not available here: billing
    Row(400, Meaning.PERMANENT, ERROR_REASONS, "API_KEY_INVALID"),  # under INVALID_ARGUMENT
    Row(400, Meaning.REFUSAL, API_ERRORS),  # INVALID_ARGUMENT
    Row(401, Meaning.PERMANENT, RPC_CODES),  # UNAUTHENTICATED
    Row(402, Meaning.PERMANENT, API_ERRORS),  # RESOURCE_EXHAUSTED: the prepaid credit
    Row(403, Meaning.PERMANENT, API_ERRORS),  # PERMISSION_DENIED
    Row(404, Meaning.PERMANENT, API_ERRORS),  # NOT_FOUND: a request names nothing but the model
    Row(408, Meaning.TRANSIENT, SDK),
    Row(409, Meaning.TRANSIENT, RPC_CODES, "ABORTED"),
    Row(425, Meaning.TRANSIENT, "RFC 8470, 5.2 (Too Early)"),
    Row(429, Meaning.LIMITED, API_ERRORS),  # RESOURCE_EXHAUSTED
    Row(499, Meaning.TRANSIENT, API_ERRORS),  # CANCELLED: Google, or a proxy, saw the client disconnect
    Row(501, Meaning.PERMANENT, RPC_CODES, "UNIMPLEMENTED"),  # not enabled for the model
    Row(500, Meaning.TRANSIENT, API_ERRORS),  # INTERNAL
    Row(502, Meaning.TRANSIENT, SDK),
    Row(503, Meaning.TRANSIENT, API_ERRORS),  # UNAVAILABLE
    Row(504, Meaning.TRANSIENT, API_ERRORS),  # DEADLINE_EXCEEDED: the call has ended
    Row(range(400, 500), Meaning.REFUSAL, RFC_9110),
    Row(range(500, 600), Meaning.TRANSIENT, RFC_9110),
    Row(range(100, 400), Meaning.TRANSIENT, RFC_9110),  # nothing that `generateContent` answers: a proxy's
)
"""The first row that fits counts."""
