"""Operations of admins: users, their limits, the queue, the costs, the audit trail."""

from typing import Final

from schemas.admin.service import AuditPage, CostReport, QueueReport
from schemas.admin.users import UserDetail, UserLimits, UserPage
from schemas.operations.operation import Operation

_USERS: Final = "/v1/admin/users"
_LIMITS: Final = f"{_USERS}/{{id}}/limits"
_ALL: Final = (400, 401, 403, 422, 503)
_ONE: Final = (400, 401, 403, 404, 422, 503)

ADMIN: Final[tuple[Operation, ...]] = (
    Operation("get", _USERS, "admin_list_users", "admin", "List users, newest first", {200: UserPage}, _ALL, None,
              ("search", "role", "email_verified", "statistics", "limit", "cursor"), scope="ops"),
    Operation("get", f"{_USERS}/{{id}}", "admin_get_user", "admin", "A user, with totals and lock state",
              {200: UserDetail}, _ONE, scope="ops"),
    Operation("get", _LIMITS, "admin_get_limits", "admin", "The limits of a user", {200: UserLimits}, _ONE,
              scope="ops"),
    Operation("put", _LIMITS, "admin_set_limits", "admin", "Set the limits of a user", {200: UserLimits},
              (400, 401, 403, 404, 408, 413, 415, 422, 503), UserLimits, scope="ops"),
    Operation("get", "/v1/admin/queue", "admin_queue", "admin", "Open jobs by kind and provider", {200: QueueReport},
              _ALL, scope="ops"),
    Operation("get", "/v1/admin/costs", "admin_costs", "admin", "What was used at the providers, and its cost",
              {200: CostReport}, _ALL, None, ("since", "until"), scope="ops"),
    Operation("get", "/v1/admin/audit", "admin_audit", "admin", "The audit trail, the latest event first",
              {200: AuditPage}, _ALL, None,
              ("type", "actor_id", "subject_id", "occurred_after", "occurred_before", "limit", "audit_cursor"),
              scope="ops"),
)  # fmt: skip
