"""Operations for operators and tools: health, metrics, documents."""

from typing import Final

from schemas.http import Liveness, Readiness
from schemas.operations.operation import Operation

SERVICE: Final = (
    Operation("get", "/livez", "livez", "service", "Liveness", {200: Liveness}, auth="none"),
    Operation("get", "/readyz", "readyz", "service", "Readiness", {200: Readiness, 503: Readiness},
              auth="none"),
    Operation("get", "/metrics", "metrics", "service", "Prometheus metrics", {200: "text/plain"}, auth="none"),
    Operation("get", "/openapi.json", "openapi", "service", "This document", {200: "application/json"},
              auth="none"),
    Operation("get", "/docs", "docs", "service", "Swagger UI", {200: "text/html"}, auth="none"),
)  # fmt: skip
