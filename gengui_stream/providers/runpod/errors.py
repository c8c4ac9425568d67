"""What RunPod's errors mean. A row with the word OWN is about RunPod's own JSON: other bodies are those of a gateway
before it, which does not know whether RunPod has the call."""

from typing import Final

from gengui_stream.providers.error_table import RFC_9110, Meaning, Row

OWN: Final = "JSON"

SEND_REQUESTS: Final = "https://docs.runpod.io/serverless/endpoints/send-requests (Error handling and troubleshooting)"
SDK: Final = "runpod-python, runpod/endpoint/runner.py (status_forcelist)"
CLOUDFLARE: Final = "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/"

ERRORS: Final = (
    Row(400, Meaning.REFUSAL, SEND_REQUESTS),
    Row(401, Meaning.PERMANENT, SEND_REQUESTS),
    Row(402, Meaning.PERMANENT, RFC_9110),  # the balance
    Row(403, Meaning.PERMANENT, RFC_9110),
    Row(404, Meaning.PERMANENT, SEND_REQUESTS),  # of /run: the endpoint
    Row(408, Meaning.TRANSIENT, SDK),
    Row(425, Meaning.TRANSIENT, "RFC 8470, 5.2 (Too Early)"),
    Row(429, Meaning.LIMITED, SEND_REQUESTS),
    Row(500, Meaning.TRANSIENT, SEND_REQUESTS, OWN),
    Row(502, Meaning.UNKNOWN, RFC_9110),
    Row(504, Meaning.UNKNOWN, RFC_9110),
    Row(range(520, 531), Meaning.UNKNOWN, CLOUDFLARE),
    Row(range(400, 500), Meaning.REFUSAL, RFC_9110),
    Row(range(500, 600), Meaning.TRANSIENT, RFC_9110, OWN),
    Row(range(500, 600), Meaning.UNKNOWN, RFC_9110),
    Row(range(100, 400), Meaning.PERMANENT, RFC_9110),  # a redirect: RUNPOD_BASE_URL is another server's
)
"""Of /run. The first row that fits counts."""
