-- A PostgreSQL schema for each concern. `projections` is a fold of the log: it can be dropped and computed again.
-- `jobs` is what the states call for. `accounts` are plain rows, which only a backup brings back.
CREATE SCHEMA projections;
CREATE SCHEMA jobs;
CREATE SCHEMA accounts;

CREATE TABLE accounts.users (
    user_id    uuid PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    role       text NOT NULL CHECK (role IN ('user', 'worker', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE accounts.api_keys (
    key_id      text PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES accounts.users,
    secret_hash bytea NOT NULL,                     -- SHA-256 of the whole key: 256 random bits need no slow hash
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);

CREATE TABLE accounts.idempotency_keys (
    owner_id     uuid NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    event        text NOT NULL,                     -- reserved before the append: each try appends this one
    position     text,                              -- set once the log has it
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, key)
);

CREATE TABLE projections.checkpoints (
    projection    text NOT NULL,
    topic         text NOT NULL,
    partition     int NOT NULL,
    start_offset  bigint NOT NULL,
    next_offset   bigint NOT NULL,
    owner_epoch   bigint NOT NULL,                  -- bumped by every claim: an older owner's batch finds no row
    applied       bigint NOT NULL DEFAULT 0,
    ignored       bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, topic, partition)
) WITH (fillfactor = 20);

-- What never changes of a generation: wide, written once.
CREATE TABLE projections.generation_requests (
    generation_id  uuid PRIMARY KEY,
    owner_id       uuid NOT NULL,
    prompt         text NOT NULL,
    seed           bigint NOT NULL,
    width          int NOT NULL,
    height         int NOT NULL,
    model          text NOT NULL,
    provider       text NOT NULL,
    max_attempts   int NOT NULL,
    deadline       timestamptz,
    retried_from   uuid,
    correlation_id text,
    traceparent    text,
    requested_at   timestamptz NOT NULL,
    provider_pinned boolean NOT NULL DEFAULT true                -- the client named the provider itself, and so gets no other
);
CREATE INDEX generation_requests_by_owner
    ON projections.generation_requests (owner_id, requested_at DESC, generation_id DESC);

-- What changes: narrow, no index on what changes often, room in each page, so that updates stay heap-only.
CREATE TABLE projections.generation_states (
    generation_id    uuid PRIMARY KEY,
    partition        smallint NOT NULL,
    log_offset       bigint NOT NULL,               -- of the last event that changed this row
    status           text NOT NULL,
    version          int NOT NULL,
    attempt          int NOT NULL,
    provider         text NOT NULL,
    percent          double precision,
    stage            text,
    cancel_requested boolean NOT NULL,
    dispatched_at    timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    heartbeat_at     timestamptz,
    deleted_at       timestamptz,
    outputs          text,                          -- JSON; null for none
    error            text,                          -- JSON; null for none
    provider_model   text NOT NULL,                 -- of the current attempt: may differ from the one asked for
    provider_job_id  text,
    endpoint_id      text,
    duplicates       text,                          -- JSON; null for none: what recognises events appended again
    settled          boolean NOT NULL               -- ended, and no thumbnail is outstanding
) WITH (fillfactor = 70);
-- `settled` changes once a generation: every other update stays heap-only.
CREATE INDEX generation_states_unsettled ON projections.generation_states (partition, generation_id) WHERE NOT settled;

-- The history as recorded: one row for every record of a generation, ignored ones with their reason.
CREATE TABLE projections.timeline (
    generation_id uuid NOT NULL,
    partition     smallint NOT NULL,
    log_offset    bigint NOT NULL,
    owner_id      uuid,                             -- null when the generation was not requested (yet)
    event_id      uuid,
    type          text NOT NULL,
    attempt       int,
    occurred_at   timestamptz,                      -- null when the event's own time is not to be believed
    appended_at   timestamptz NOT NULL,
    version       int,                              -- of the generation after this event
    status        text,                             -- of the generation after this event
    ignored       text,                             -- the reason; null: applied
    payload       text NOT NULL,                    -- the record's value, JSON as received
    PRIMARY KEY (generation_id, log_offset, partition) -- a foreign producer may have put an event on another one
);
CREATE INDEX timeline_by_owner ON projections.timeline (owner_id, partition, log_offset) WHERE owner_id IS NOT NULL;

-- Each partition counts into rows of its own, so that no two projectors ever wait for one row; readers add up.
CREATE TABLE projections.daily_counts (
    owner_id  uuid NOT NULL,
    day       date NOT NULL,                        -- UTC
    partition smallint NOT NULL,
    requested bigint NOT NULL,
    completed bigint NOT NULL,
    failed    bigint NOT NULL,
    canceled  bigint NOT NULL,
    timed_out bigint NOT NULL,
    moderated bigint NOT NULL,
    PRIMARY KEY (owner_id, day, partition)
) WITH (fillfactor = 70);

CREATE TABLE projections.provider_minutes (
    provider   text NOT NULL,
    model      text NOT NULL,
    minute     timestamptz NOT NULL,
    partition  smallint NOT NULL,
    dispatched bigint NOT NULL,
    completed  bigint NOT NULL,
    failed     bigint NOT NULL,                     -- attempts, each counted: a retried failure is one
    canceled   bigint NOT NULL,
    timed_out  bigint NOT NULL,
    moderated  bigint NOT NULL,
    PRIMARY KEY (provider, model, minute, partition)
) WITH (fillfactor = 70);

CREATE TABLE projections.provider_latencies (
    provider    text NOT NULL,
    model       text NOT NULL,
    minute      timestamptz NOT NULL,
    partition   smallint NOT NULL,
    at_most_ms  int NOT NULL,                       -- the bucket's upper bound; 2147483647 is "more"
    completions bigint NOT NULL,                    -- of this bucket alone, not cumulative
    PRIMARY KEY (provider, model, minute, partition, at_most_ms)
) WITH (fillfactor = 70);

CREATE TABLE projections.dead_letters (
    topic         text NOT NULL,
    partition     int NOT NULL,
    log_offset    bigint NOT NULL,
    generation_id uuid,                             -- null when the record names none that can be trusted
    reason        text NOT NULL,                    -- 'parked' for an event that waits behind another dead letter
    detail        text NOT NULL,
    record_key    bytea,
    record_value  bytea,
    appended_at   timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    resolution    text CHECK (resolution IN ('retried', 'discarded')),
    resolved_at   timestamptz,
    PRIMARY KEY (topic, partition, log_offset)
);
CREATE INDEX dead_letters_open ON projections.dead_letters (topic, partition, generation_id) WHERE resolution IS NULL;

-- What the states of generations call for. A finished job leaves the table, so that it stays as small as the work that is
-- left. A claim changes no indexed column, so that it stays heap-only.
CREATE TABLE jobs.jobs (
    job_key       text PRIMARY KEY,                 -- deterministic: the same state never makes two jobs
    kind          text NOT NULL,
    partition     smallint NOT NULL,                -- of the generation: claimed only while an owner vouches for it
    generation_id uuid NOT NULL,
    attempt       int NOT NULL,
    output_id     text,
    provider      text NOT NULL DEFAULT '',         -- the queue of a dispatch job: the preferred provider and model,
    model         text NOT NULL DEFAULT '',         -- and whether fallbacks are excluded
    pinned        boolean NOT NULL DEFAULT false,
    available_at  timestamptz NOT NULL,             -- when it is due; a claim leaves it as it is
    leased_until  timestamptz,                      -- until then it belongs to `lease_owner`
    lease_owner   text,
    tries         int NOT NULL DEFAULT 0,
    last_error    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expedited     boolean NOT NULL DEFAULT false    -- a provider's webhook reports news: due at once
) WITH (fillfactor = 50);
CREATE INDEX jobs_due ON jobs.jobs (kind, provider, model, pinned, available_at, generation_id);
CREATE INDEX jobs_by_generation ON jobs.jobs (generation_id);

-- The owner of each partition, which vouches every few seconds that the projections have caught up with the log.
CREATE TABLE jobs.partition_owners (
    partition   smallint PRIMARY KEY,
    owner_epoch bigint NOT NULL,
    valid_until timestamptz NOT NULL
) WITH (fillfactor = 20);
