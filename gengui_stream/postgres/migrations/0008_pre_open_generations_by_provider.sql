-- The queue of each provider, and what runs there, for the queue positions. `started_at` changes once an attempt and
-- `settled` once a generation: every other update stays heap-only. Concurrently: the projectors go on writing meanwhile.
DROP INDEX CONCURRENTLY IF EXISTS projections.generation_states_waiting;
CREATE INDEX CONCURRENTLY generation_states_waiting ON projections.generation_states (provider, generation_id)
    WHERE NOT settled AND started_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS projections.generation_states_started;
CREATE INDEX CONCURRENTLY generation_states_started ON projections.generation_states (provider, generation_id)
    WHERE NOT settled AND started_at IS NOT NULL;
