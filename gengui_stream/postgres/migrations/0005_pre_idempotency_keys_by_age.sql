-- Concurrently: requests go on writing keys meanwhile. An interrupted build leaves an invalid index behind.
DROP INDEX CONCURRENTLY IF EXISTS accounts.idempotency_keys_by_age;
CREATE INDEX CONCURRENTLY idempotency_keys_by_age ON accounts.idempotency_keys (created_at);
