-- Concurrently: the projectors go on writing meanwhile.
DROP INDEX CONCURRENTLY IF EXISTS jobs.jobs_by_turn;
CREATE INDEX CONCURRENTLY jobs_by_turn
    ON jobs.jobs (kind, provider, model, pinned, start_tag, available_at, generation_id);
DROP INDEX CONCURRENTLY IF EXISTS jobs.jobs_by_owner;
CREATE INDEX CONCURRENTLY jobs_by_owner ON jobs.jobs (provider, owner_id, start_tag) WHERE kind = 'dispatch';
