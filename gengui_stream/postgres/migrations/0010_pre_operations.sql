-- What operators ordered and did, and what checks found. Not in `projections`, which a rebuild replaces.
CREATE SCHEMA operations;

CREATE TABLE operations.actions (
    action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acted_at  timestamptz NOT NULL DEFAULT now(),
    operator  text NOT NULL,                        -- the user and the process
    action    text NOT NULL,                        -- the command, such as 'skip' or 'dead-letters retry'
    subject   text NOT NULL,                        -- a position, a partition, a generation, or the filter
    reason    text NOT NULL,                        -- in the operator's words; may be empty
    result    text NOT NULL                         -- JSON
);

-- The agents do not project these partitions. A row stays until an operator resumes the partition.
CREATE TABLE operations.paused_partitions (
    topic     text NOT NULL,
    partition int NOT NULL,
    operator  text NOT NULL,
    reason    text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- Generations whose rows differ from the fold of their events. A row is removed once they agree again.
CREATE TABLE operations.drifted_generations (
    topic         text NOT NULL,
    generation_id uuid NOT NULL,
    difference    text NOT NULL,
    found_at      timestamptz NOT NULL DEFAULT now(),
    checked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, generation_id)
);
